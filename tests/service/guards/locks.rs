//! Guarding a lock, and the transactions that the guard lets pass.

use serde_json::json;

use super::{User, on_every_database};
use crate::support::{Client, Database, Dialect, SHORT_MS, SOON, Service, random_version};

on_every_database![with_database:
    the_standing_grant_passes_in_any_spelling_of_its_version,
    versions_of_other_grants_are_refused,
    an_expired_grant_passes_until_somebody_asks_for_the_lock,
    a_transaction_that_read_before_the_grant_is_refused,
    a_transaction_that_locks_what_it_reads_is_refused_and_disturbs_nobody,
    a_lock_stays_guarded_until_it_is_deleted,
    a_put_guards_and_unguards_a_free_lock,
    a_standing_grant_is_answered_unchanged,
    a_waiter_that_asks_for_it_is_granted_a_guarded_lock,
];

async fn set_up(database: &Database) -> (Service, Client, User) {
    let service = Service::start(&database.url).await;
    let client = service.client();
    let user = User::of(database, &client).await;
    (service, client, user)
}

async fn the_standing_grant_passes_in_any_spelling_of_its_version(database: Database) {
    let (_service, svc, user) = set_up(&database).await;
    let grant = svc.acquire("k", json!({"guarded": true, "lease_duration_ms": 60_000})).await.grant();
    assert_eq!(grant.body["guarded"], true);
    let version = &grant.version;
    for spelling in [version.clone(), version.to_uppercase(), version.replace('-', "")] {
        assert_eq!(user.guard_alone("k", &spelling).await, Ok(grant.token), "{spelling}");
    }
    svc.heartbeat("k", version).await.grant();
    user.begin().await;
    assert_eq!(user.guard("k", version).await, Ok(grant.token), "heartbeats change nothing");
    user.run("INSERT INTO account VALUES (1, 100)").await;
    user.run("COMMIT").await;
    assert_eq!(svc.release("k", version).await.unheld(200)["guarded"], true);
}

async fn versions_of_other_grants_are_refused(database: Database) {
    let (_service, svc, user) = set_up(&database).await;
    let refused = |code: &str| Err(code.to_owned());
    assert_eq!(user.guard_alone("none", &random_version()).await, refused("DL001"));
    let plain = svc.hold("plain").await;
    assert_eq!(user.guard_alone("plain", &plain.version).await, refused("DL001"));
    let first = svc.acquire("k", json!({"guarded": true})).await.grant();
    assert_eq!(user.guard_alone("K", &first.version).await, refused("DL001"), "keys differ by letter case");
    svc.release("k", &first.version).await.unheld(200);
    assert_eq!(user.guard_alone("k", &first.version).await, refused("DL001"));
    let second = svc.acquire("k", json!({})).await.grant();
    assert_eq!(user.guard_alone("k", &first.version).await, refused("DL001"));
    assert_eq!(user.guard_alone("k", &second.version).await, Ok(second.token));
    for wrong in [random_version(), "nonsense".to_owned(), String::new()] {
        let code = user.guard_alone("k", &wrong).await.unwrap_err();
        assert!(["DL001", "DL002"].contains(&code.as_str()), "{wrong}: {code}");
    }
    svc.delete(&format!("/locks/k?version={}", second.version)).await.expect(204);
    assert_eq!(user.guard_alone("k", &second.version).await, refused("DL001"));
}

/// No other holder can have written in between.
async fn an_expired_grant_passes_until_somebody_asks_for_the_lock(database: Database) {
    let (_service, svc, user) = set_up(&database).await;
    let first = svc.acquire("k", json!({"guarded": true, "lease_duration_ms": SHORT_MS})).await.grant();
    svc.until_free("k", SOON).await;
    assert_eq!(user.guard_alone("k", &first.version).await, Ok(first.token));
    let second = svc.acquire("k", json!({"wait_ms": 0})).await.grant();
    assert_eq!(user.guard_alone("k", &first.version).await, Err("DL001".to_owned()));
    assert_eq!(user.guard_alone("k", &second.version).await, Ok(second.token));
}

/// Guards against a lost update: a transaction read before the former holder wrote.
async fn a_transaction_that_read_before_the_grant_is_refused(database: Database) {
    if database.dialect == Dialect::Sqlite {
        // SQLite has one writer at a time: its transaction sees the newest rows, or cannot write.
        return;
    }
    let (_service, svc, user) = set_up(&database).await;
    let first = svc.acquire("k", json!({"guarded": true})).await.grant();
    svc.release("k", &first.version).await.unheld(200);
    if matches!(database.dialect, Dialect::MariaDb | Dialect::MySql) {
        user.run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await;
    }
    user.begin().await;
    user.run("SELECT * FROM account").await;
    let second = svc.acquire("k", json!({})).await.grant();
    assert_eq!(user.guard("k", &second.version).await, Err("DL002".to_owned()));
    user.run("ROLLBACK").await;
    assert_eq!(user.guard_alone("k", &second.version).await, Ok(second.token));
}

/// At SERIALIZABLE `MariaDB` and `MySQL` would lock the rows that the guard reads: the key's row and gaps beside it.
async fn a_transaction_that_locks_what_it_reads_is_refused_and_disturbs_nobody(database: Database) {
    let (_service, svc, user) = set_up(&database).await;
    if !matches!(database.dialect, Dialect::MariaDb | Dialect::MySql) {
        return;
    }
    let grant = svc.acquire("k", json!({"guarded": true, "lease_duration_ms": 60_000})).await.grant();
    user.run("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE").await;
    user.begin().await;
    for version in [grant.version.clone(), random_version()] {
        assert_eq!(user.guard("k", &version).await, Err("DL004".to_owned()));
    }
    svc.heartbeat("k", &grant.version).await.grant();
    for neighbour in ["a", "k2", "z"] {
        svc.acquire(neighbour, json!({"guarded": true, "wait_ms": 0})).await.grant();
    }
    user.run("ROLLBACK").await;
    user.run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await;
    assert_eq!(user.guard_alone("k", &grant.version).await, Ok(grant.token));
}

async fn a_lock_stays_guarded_until_it_is_deleted(database: Database) {
    let (_service, svc, user) = set_up(&database).await;
    let first = svc.acquire("k", json!({"guarded": true})).await.grant();
    svc.release("k", &first.version).await.unheld(200);
    let second = svc.acquire("k", json!({"guarded": false})).await.grant();
    assert_eq!(second.body["guarded"], true);
    assert_eq!(user.guard_alone("k", &second.version).await, Ok(second.token));
    assert_eq!(svc.lock("k").await.body["guarded"], true);
    assert_eq!(svc.get("/locks").await.body["items"][0]["guarded"], true);
    assert_eq!(svc.get("/locks?locked=true").await.body["items"][0]["guarded"], true);
    svc.delete(&format!("/locks/k?version={}", second.version)).await.expect(204);
    let third = svc.acquire("k", json!({})).await.grant();
    assert_eq!(third.body["guarded"], false);
    assert_eq!(user.guard_alone("k", &third.version).await, user.refusal_of_unguarded());
}

async fn a_put_guards_and_unguards_a_free_lock(database: Database) {
    let (_service, svc, user) = set_up(&database).await;
    assert_eq!(svc.put("/locks/k", json!({"guarded": true})).await.unheld(201)["guarded"], true);
    assert_eq!(
        svc.put("/locks/k", json!({"data": "text"})).await.unheld(200)["guarded"],
        true,
        "it keeps it"
    );
    let grant = svc.acquire("k", json!({"lease_duration_ms": SHORT_MS})).await.grant();
    assert_eq!(user.guard_alone("k", &grant.version).await, Ok(grant.token));
    svc.until_free("k", SOON).await;
    assert_eq!(svc.put("/locks/k", json!({"guarded": false})).await.unheld(200)["guarded"], false);
    assert_eq!(user.guard_alone("k", &grant.version).await, Err("DL001".to_owned()));
    svc.put("/locks/k", json!({"guarded": "yes"})).await.names_invalid("guarded");
}

async fn a_standing_grant_is_answered_unchanged(database: Database) {
    let (_service, svc, user) = set_up(&database).await;
    let version = random_version();
    let first = svc.acquire("k", json!({"version": version, "owner": "me"})).await.grant();
    for again in [json!({"version": version}), json!({"reentrant": true})] {
        let mut ask = json!({"owner": "me", "guarded": true});
        ask.as_object_mut().unwrap().extend(again.as_object().unwrap().clone());
        let repeated = svc.acquire("k", ask).await.grant();
        assert_eq!((repeated.token, &repeated.body["guarded"]), (first.token, &json!(false)));
    }
    assert_eq!(user.guard_alone("k", &version).await, Err("DL001".to_owned()));
}

async fn a_waiter_that_asks_for_it_is_granted_a_guarded_lock(database: Database) {
    let (_service, svc, user) = set_up(&database).await;
    let first = svc.hold("k").await;
    let waiting = svc.queue_up("k", json!({"guarded": true, "wait_ms": 30_000}), 1).await;
    assert_eq!(svc.lock("k").await.grant().body["guarded"], false, "it is not its grant");
    svc.release("k", &first.version).await.unheld(200);
    let second = waiting.await.unwrap().grant();
    assert_eq!(second.body["guarded"], true);
    assert_eq!(user.guard_alone("k", &second.version).await, Ok(second.token));
}
