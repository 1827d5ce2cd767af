//! The rights that the guard needs, the places from which it can be called, and servers on which nothing can be
//! guarded.

use serde_json::json;

use super::{User, on_every_database};
use crate::{
    conformance::force::revoked,
    support::{Client, Database, Dialect, SOON, Service, eventually, random_text, random_version, sql},
};

on_every_database![with_database:
    a_role_without_any_right_on_our_tables_can_guard,
    a_role_that_may_only_call_the_guard_delays_nobody_with_an_invented_version,
    the_guard_is_called_from_another_schema_or_database,
    a_forced_release_ends_the_guard,
    a_forced_release_waits_for_an_open_transaction_and_is_finished_after_it,
];

async fn set_up(database: &Database) -> (Service, Client) {
    let service = Service::start_with(&database.url, &[("DB_LOCKS_GUARD_WAIT_MS", "200")]).await;
    let client = service.client();
    (service, client)
}

fn name_of(database: &Database) -> &str {
    database.url.rsplit('/').next().unwrap()
}

/// Creates a role that may only call the guard. Returns the URL with which it connects.
async fn role_with_the_guard_alone(database: &Database) -> String {
    let (role, name) = (format!("app_{}", random_text()), name_of(database));
    let rights = if database.dialect == Dialect::Postgres {
        vec![
            format!("CREATE ROLE {role} LOGIN"),
            "REVOKE ALL ON SCHEMA public FROM PUBLIC".to_owned(),
            "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC".to_owned(),
            format!("GRANT USAGE ON SCHEMA public TO {role}"),
            format!("GRANT EXECUTE ON FUNCTION db_locks_guard(text, text, text) TO {role}"),
        ]
    } else {
        vec![
            format!("CREATE USER {role}@'127.0.0.1' IDENTIFIED BY 'app'"),
            format!("GRANT EXECUTE ON PROCEDURE {name}.db_locks_guard_in TO {role}@'127.0.0.1'"),
        ]
    };
    for statement in rights {
        sql::execute(&database.url, &statement).await.unwrap();
    }
    let (scheme, rest) = database.url.split_once("://").unwrap();
    let (_, rest) = rest.split_once('@').unwrap();
    format!("{scheme}://{role}:app@{rest}")
}

async fn a_role_without_any_right_on_our_tables_can_guard(database: Database) {
    if database.dialect == Dialect::Sqlite {
        // A file has no roles.
        return;
    }
    let (_service, svc) = set_up(&database).await;
    let user = User::at(&role_with_the_guard_alone(&database).await, database.dialect, &svc).await;
    for table in ["locks", "permits", "db_locks_guards"] {
        assert!(user.try_run(&format!("SELECT * FROM {table}")).await.is_err(), "{table}");
    }
    let grant = svc.acquire("k", json!({"guarded": true})).await.grant();
    assert_eq!(user.guard_alone("k", &grant.version).await, Ok(grant.token));
    svc.release("k", &grant.version).await.unheld(200);
    assert_eq!(user.guard_alone("k", &grant.version).await, Err("DL001".to_owned()));
}

/// At SERIALIZABLE `MariaDB` and `MySQL` lock the rows that a transaction reads and the gaps in which it finds none, and
/// the refusal of a call does not unlock them.
async fn a_role_that_may_only_call_the_guard_delays_nobody_with_an_invented_version(database: Database) {
    let begin: &[&str] = match database.dialect {
        Dialect::Sqlite => return,
        Dialect::Postgres => &["BEGIN ISOLATION LEVEL SERIALIZABLE"],
        Dialect::MariaDb | Dialect::MySql => &["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "BEGIN"],
    };
    let (_service, svc) = set_up(&database).await;
    let url = role_with_the_guard_alone(&database).await;
    let guarded = svc.acquire("formerly", json!({"guarded": true})).await.grant();
    svc.delete(&format!("/locks/formerly?version={}", guarded.version)).await.expect(204);
    let (plain, formerly) = (svc.hold("plain").await, svc.hold("formerly").await);
    let mut sessions = Vec::new();
    for key in ["plain", "formerly", "nothing"] {
        let user = User::at(&url, database.dialect, &svc).await;
        for statement in begin {
            user.run(statement).await;
        }
        user.guard(key, &random_version()).await.unwrap_err();
        sessions.push(user);
    }
    for (key, grant) in [("plain", plain), ("formerly", formerly)] {
        svc.heartbeat(key, &grant.version).await.grant();
        svc.release(key, &grant.version).await.unheld(200);
    }
    for key in ["nothing", "a", "z"] {
        svc.acquire(key, json!({"wait_ms": 0})).await.grant();
    }
    for user in sessions {
        user.run("ROLLBACK").await;
    }
}

async fn the_guard_is_called_from_another_schema_or_database(database: Database) {
    let (_service, svc) = set_up(&database).await;
    let user = User::of(&database, &svc).await;
    let name = name_of(&database);
    let other = format!("{name}_other");
    let (place, there) = match database.dialect {
        // SQLite has no schemas.
        Dialect::Sqlite => return,
        Dialect::Postgres => ("public.".to_owned(), vec!["CREATE SCHEMA other", "SET search_path = other"]),
        Dialect::MariaDb | Dialect::MySql => (format!("{name}."), vec![]),
    };
    for statement in there {
        user.run(statement).await;
    }
    if database.dialect != Dialect::Postgres {
        user.run(&format!("CREATE DATABASE {other}")).await;
        user.run(&format!("USE {other}")).await;
    }
    // The guard does not use the user's own tables with the names of ours.
    user.run("CREATE TABLE locks (id INTEGER)").await;
    user.run("CREATE TABLE db_locks_guards (id INTEGER)").await;
    let grant = svc.acquire("k", json!({"guarded": true})).await.grant();
    user.begin().await;
    assert_eq!(user.guard_of(&place, "k", &grant.version).await, Ok(grant.token));
    user.run("INSERT INTO locks VALUES (1)").await;
    svc.release("k", &grant.version).await.problem(409, "guarded-transaction-open");
    user.run("COMMIT").await;
    svc.until_free("k", SOON).await;
    user.begin().await;
    assert_eq!(user.guard_of(&place, "k", &grant.version).await, Err("DL001".to_owned()));
    user.run("ROLLBACK").await;
    if database.dialect != Dialect::Postgres {
        user.run(&format!("DROP DATABASE {other}")).await;
    }
}

async fn a_forced_release_ends_the_guard(database: Database) {
    let (_service, svc) = set_up(&database).await;
    let user = User::of(&database, &svc).await;
    let first = svc.acquire("k", json!({"guarded": true, "lease_duration_ms": 60_000})).await.grant();
    let waiting = svc.queue_up("k", json!({"wait_ms": 30_000}), 1).await;
    let force = json!({"force": true, "reason": "stuck"});
    svc.post("/locks/k/release", force).await.expect(200);
    assert_eq!(user.guard_alone("k", &first.version).await, Err("DL001".to_owned()));
    revoked(&svc.heartbeat("k", &first.version).await, &json!("stuck"));
    let second = waiting.await.unwrap().grant();
    assert_eq!(user.guard_alone("k", &second.version).await, Ok(second.token));
}

async fn a_forced_release_waits_for_an_open_transaction_and_is_finished_after_it(database: Database) {
    if database.dialect == Dialect::Sqlite {
        // SQLite has one writer at a time: the service waits for the file.
        return;
    }
    let (_service, svc) = set_up(&database).await;
    let (user, other) = (User::of(&database, &svc).await, User::of(&database, &svc).await);
    let first = svc.acquire("k", json!({"guarded": true, "lease_duration_ms": 60_000})).await.grant();
    user.begin().await;
    assert_eq!(user.guard("k", &first.version).await, Ok(first.token));
    let waiting = svc.queue_up("k", json!({"wait_ms": 30_000}), 1).await;
    let force = json!({"force": true, "reason": "stuck"});
    svc.post("/locks/k/release", force).await.problem(409, "guarded-transaction-open");
    // The grant has ended nevertheless. Only a transaction that was already open may still commit.
    revoked(&svc.heartbeat("k", &first.version).await, &json!("stuck"));
    assert_eq!(other.guard_alone("k", &first.version).await, Err("DL001".to_owned()));
    user.run("INSERT INTO account VALUES (1, 100)").await;
    assert!(!waiting.is_finished());
    user.run("COMMIT").await;
    let second = waiting.await.unwrap().grant();
    assert_eq!(other.guard_alone("k", &second.version).await, Ok(second.token));
    other.run("SELECT amount FROM account WHERE id = 1").await;
}

/// Guards against servers and tables that accept the statements but lock nothing.
#[tokio::test]
async fn nothing_is_guarded_where_locks_on_rows_are_not_real() {
    let Some(database) = Dialect::MariaDb.database().await else { return };
    drop(Service::start(&database.url).await);
    let leftovers = async || {
        sql::number(&database.url, "SELECT count(*) FROM db_locks_guards").await.is_ok_and(|count| count == 0)
    };
    assert!(leftovers().await, "the trial leaves no row");
    sql::execute(&database.url, "ALTER TABLE db_locks_guards ENGINE = Aria").await.unwrap();
    let service = Service::start(&database.url).await;
    let svc = service.client();
    let refused = svc.acquire("k", json!({"guarded": true})).await;
    let problem = refused.expect(400).body.to_string();
    assert!(problem.contains("locks on rows"), "{problem}");
    svc.put("/locks/k", json!({"guarded": true})).await.expect(400);
    svc.hold("k").await;
    sql::execute(&database.url, "ALTER TABLE db_locks_guards ENGINE = InnoDB").await.unwrap();
    drop(service);
    let service = Service::start(&database.url).await;
    service.client().acquire("k", json!({"guarded": true})).await.grant();
    eventually("no row is left but the key's", SOON, async || {
        (sql::number(&database.url, "SELECT count(*) FROM db_locks_guards").await.ok()? == 1).then_some(())
    })
    .await;
}
