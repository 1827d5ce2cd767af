//! Locks whose last grant has an open transaction that called the guard.

use std::time::Duration;

use serde_json::{Value, json};

use super::{User, on_every_database};
use crate::support::{Answer, Client, Database, Dialect, Grant, SHORT_MS, SOON, Service};

on_every_database![with_database:
    a_release_is_refused_and_the_grant_is_over_all_the_same,
    a_release_waits_for_the_end_of_the_transaction,
    a_deleting_release_deletes_when_the_transaction_has_ended,
    nobody_is_granted_before_the_transaction_of_an_expired_grant_has_ended,
    workers_that_overlap_cannot_keep_the_lock,
    a_deletion_waits_for_the_end_of_the_transaction,
    a_put_that_unguards_waits_for_the_end_of_the_transaction,
    a_release_is_finished_after_a_crash,
    a_transaction_that_stays_open_is_logged_once_and_affects_no_other_key,
    releases_that_wait_are_answered_when_the_service_stops,
];

/// Starts a service that waits for open transactions only briefly; `None` on `SQLite`, which has one writer at a time.
async fn set_up(database: &Database) -> Option<(Service, Client, User)> {
    if database.dialect == Dialect::Sqlite {
        return None;
    }
    let service = Service::start_with(&database.url, &[("DB_LOCKS_GUARD_WAIT_MS", "200")]).await;
    let client = service.client();
    let user = User::of(database, &client).await;
    Some((service, client, user))
}

/// A guarded lock whose holder has an open transaction.
async fn hold_open(svc: &Client, user: &User, lease_ms: u64) -> Grant {
    let ask = json!({"guarded": true, "owner": "me", "lease_duration_ms": lease_ms});
    let grant = svc.acquire("k", ask).await.grant();
    user.begin().await;
    assert_eq!(user.guard("k", &grant.version).await, Ok(grant.token));
    grant
}

fn is_open(answer: &Answer, database: &Database) {
    let session = &answer.problem(409, "guarded-transaction-open")["session"];
    // MariaDB names the session a moment later, not at once: see `sessions`.
    if database.dialect != Dialect::MariaDb {
        assert_eq!(session.is_string(), database.dialect == Dialect::Postgres, "{session}");
    }
}

async fn a_release_is_refused_and_the_grant_is_over_all_the_same(database: Database) {
    let Some((_service, svc, user)) = set_up(&database).await else { return };
    let other = User::of(&database, &svc).await;
    let grant = hold_open(&svc, &user, 60_000).await;
    is_open(&svc.release("k", &grant.version).await, &database);
    svc.heartbeat("k", &grant.version).await.problem(409, "version-mismatch");
    assert_eq!(other.guard_alone("k", &grant.version).await, Err("DL001".to_owned()));
    let shown = svc.lock("k").await.expect(200).body;
    assert_eq!(
        (&shown["locked"], &shown["version"], &shown["expires_in_ms"]),
        (&json!(true), &json!(grant.version), &json!(0))
    );
    assert_eq!(svc.get("/locks?locked=true").await.body["items"][0]["owner"], "me");
    let refused = svc.acquire("k", json!({"wait_ms": 0})).await;
    let holders = &refused.not_granted("guarded_transaction")["holders"];
    assert_eq!((&holders[0]["owner"], &holders[0]["expires_in_ms"]), (&json!("me"), &json!(0)));
    assert_eq!(refused.header("retry-after"), "1");
    is_open(&svc.release("k", &grant.version).await, &database);
    user.run("COMMIT").await;
    svc.until_free("k", SOON).await;
    svc.release("k", &grant.version).await.unheld(200);
    svc.acquire("k", json!({"wait_ms": 0})).await.grant();
}

async fn a_release_waits_for_the_end_of_the_transaction(database: Database) {
    if database.dialect == Dialect::Sqlite {
        return;
    }
    let service = Service::start(&database.url).await;
    let svc = service.client();
    let user = User::of(&database, &svc).await;
    let grant = hold_open(&svc, &user, 60_000).await;
    let waiting = svc.queue_up("k", json!({"wait_ms": 30_000}), 1).await;
    let release = svc.post_aside("/locks/k/release", json!({"version": grant.version, "data": "done"}));
    let ended = async || (svc.heartbeat("k", &grant.version).await.status == 409).then_some(());
    crate::support::eventually("the grant is over", SOON, ended).await;
    assert!(!release.is_finished() && !waiting.is_finished());
    user.run("INSERT INTO account VALUES (1, 100)").await;
    user.run("COMMIT").await;
    let released = release.await.unwrap();
    assert_eq!(released.unheld(200)["data"], "done");
    assert!(waiting.await.unwrap().grant().token > grant.token);
}

async fn a_deleting_release_deletes_when_the_transaction_has_ended(database: Database) {
    let Some((_service, svc, user)) = set_up(&database).await else { return };
    let grant = hold_open(&svc, &user, 60_000).await;
    let release = json!({"version": grant.version, "delete_lock": true});
    is_open(&svc.post("/locks/k/release", release).await, &database);
    assert_eq!(svc.lock("k").await.expect(200).body["locked"], true);
    user.run("COMMIT").await;
    crate::support::eventually("it is gone", SOON, async || {
        (svc.lock("k").await.status == 404).then_some(())
    })
    .await;
}

/// Guards invariant 1 for writes to the database.
async fn nobody_is_granted_before_the_transaction_of_an_expired_grant_has_ended(database: Database) {
    let Some((_service, svc, user)) = set_up(&database).await else { return };
    let grant = hold_open(&svc, &user, SHORT_MS).await;
    svc.until_free("k", SOON).await;
    svc.acquire("k", json!({"wait_ms": 0})).await.not_granted("guarded_transaction");
    svc.acquire("k", json!({"wait_ms": 300})).await.not_granted("guarded_transaction");
    svc.lock("k").await.unheld(200);
    svc.heartbeat("k", &grant.version).await.problem(409, "version-mismatch");
    let waiting = svc.queue_up("k", json!({"wait_ms": 30_000}), 1).await;
    user.run("INSERT INTO account VALUES (1, 100)").await;
    assert!(!waiting.is_finished());
    user.run("COMMIT").await;
    assert!(waiting.await.unwrap().grant().token > grant.token);
}

/// Guards invariant 6: after the end of the grant, the service only waits for transactions that were already open.
async fn workers_that_overlap_cannot_keep_the_lock(database: Database) {
    let Some((_service, svc, user)) = set_up(&database).await else { return };
    let grant = hold_open(&svc, &user, 60_000).await;
    let second = User::of(&database, &svc).await;
    second.begin().await;
    second.guard("k", &grant.version).await.unwrap();
    is_open(&svc.release("k", &grant.version).await, &database);
    user.run("COMMIT").await;
    assert_eq!(user.guard_alone("k", &grant.version).await, Err("DL001".to_owned()));
    assert_eq!(svc.lock("k").await.expect(200).body["locked"], true);
    second.run("COMMIT").await;
    svc.until_free("k", SOON).await;
}

async fn a_deletion_waits_for_the_end_of_the_transaction(database: Database) {
    let Some((_service, svc, user)) = set_up(&database).await else { return };
    let grant = hold_open(&svc, &user, 60_000).await;
    let delete = format!("/locks/k?version={}", grant.version);
    is_open(&svc.delete(&delete).await, &database);
    user.run("COMMIT").await;
    svc.until_free("k", SOON).await;
    svc.delete(&delete).await.expect(204);
    svc.lock("k").await.problem(404, "not-found");
}

async fn a_put_that_unguards_waits_for_the_end_of_the_transaction(database: Database) {
    let Some((_service, svc, user)) = set_up(&database).await else { return };
    hold_open(&svc, &user, SHORT_MS).await;
    svc.until_free("k", SOON).await;
    is_open(&svc.put("/locks/k", json!({"guarded": false})).await, &database);
    user.run("COMMIT").await;
    let unguard = async || {
        let put = svc.put("/locks/k", json!({"guarded": false})).await;
        (put.status == 200).then_some(put.body)
    };
    let put: Value = crate::support::eventually("it is not guarded any more", SOON, unguard).await;
    assert_eq!(put["guarded"], false);
}

async fn a_release_is_finished_after_a_crash(database: Database) {
    let Some((mut service, svc, user)) = set_up(&database).await else { return };
    let grant = hold_open(&svc, &user, 60_000).await;
    is_open(&svc.release("k", &grant.version).await, &database);
    service.signal("KILL");
    service.end(Duration::from_secs(10)).await;
    user.run("COMMIT").await;
    let service = Service::start(&database.url).await;
    svc.at(service.port()).until_free("k", SOON).await;
}

async fn a_transaction_that_stays_open_is_logged_once_and_affects_no_other_key(database: Database) {
    let Some((service, svc, user)) = set_up(&database).await else { return };
    let grant = hold_open(&svc, &user, 60_000).await;
    is_open(&svc.release("k", &grant.version).await, &database);
    let logged = || service.log().matches("a guarded key waits for its end").count();
    crate::support::eventually("it is logged", SOON, async || (logged() == 1).then_some(())).await;
    let log = service.log();
    assert!(log.contains("key=\"k\""), "{log}");
    let metrics = svc.get("/metrics").await.text;
    assert!(metrics.contains("db_locks_guarded_keys_blocked 1"), "{metrics}");
    for _ in 0..20 {
        let other = svc.acquire("other", json!({"guarded": true, "wait_ms": 0})).await.grant();
        svc.release("other", &other.version).await.unheld(200);
    }
    assert_eq!(logged(), 1);
    user.run("COMMIT").await;
    svc.until_free("k", SOON).await;
    let metrics = svc.get("/metrics").await.text;
    assert!(metrics.contains("db_locks_guarded_keys_blocked 0"), "{metrics}");
}

/// This includes releases that are just trying the guard row again.
async fn releases_that_wait_are_answered_when_the_service_stops(database: Database) {
    if database.dialect == Dialect::Sqlite {
        return;
    }
    let mut service = Service::start_with(&database.url, &[("DB_LOCKS_GUARD_WAIT_MS", "60000")]).await;
    let svc = service.client();
    let user = User::of(&database, &svc).await;
    let mut versions = Vec::new();
    for number in 0..40 {
        let key = format!("k{number}");
        let grant = svc.acquire(&key, json!({"guarded": true, "lease_duration_ms": 60_000})).await.grant();
        versions.push((key, grant.version));
    }
    user.begin().await;
    for (key, version) in &versions {
        user.guard(key, version).await.unwrap();
    }
    let mut releases = Vec::new();
    for (key, version) in &versions {
        releases.push(svc.post_aside(&format!("/locks/{key}/release"), json!({"version": version})));
    }
    for (key, version) in &versions {
        let ended = async || (svc.heartbeat(key, version).await.status == 409).then_some(());
        crate::support::eventually("the grant is over", SOON, ended).await;
    }
    service.signal("TERM");
    for release in releases {
        release.await.unwrap().problem(409, "guarded-transaction-open");
    }
    service.end(Duration::from_secs(10)).await;
}
