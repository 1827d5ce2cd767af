//! The routines: refused calls, and routines of an earlier version.

use std::time::Duration;

use serde_json::json;

use super::{User, on_every_database};
use crate::support::{Database, Dialect, Service, service::run_program};

on_every_database![with_database:
    a_call_that_is_refused_does_not_wait_for_the_guard_row,
    a_start_that_makes_the_routines_anew_does_not_wait_for_ever_for_a_transaction,
    a_change_of_the_schema_waits_for_a_transaction_that_called_the_guard,
];

/// A call that is refused does not lock the row. Otherwise repeated calls would keep the next holder out.
async fn a_call_that_is_refused_does_not_wait_for_the_guard_row(database: Database) {
    let limit = match database.dialect {
        // One writer at a time.
        Dialect::Sqlite => return,
        Dialect::Postgres => "SET lock_timeout = '2s'",
        Dialect::MariaDb | Dialect::MySql => "SET SESSION innodb_lock_wait_timeout = 2",
    };
    let service = Service::start(&database.url).await;
    let svc = service.client();
    let (user, other) = (User::of(&database, &svc).await, User::of(&database, &svc).await);
    let first = svc.acquire("k", json!({"guarded": true})).await.grant();
    svc.release("k", &first.version).await.unheld(200);
    let second = svc.acquire("k", json!({"lease_duration_ms": 60_000})).await.grant();
    other.begin().await;
    other.run("SELECT slot FROM db_locks_guards FOR UPDATE").await;
    user.run(limit).await;
    assert_eq!(user.guard_alone("k", &first.version).await, Err("DL001".to_owned()));
    other.run("ROLLBACK").await;
    assert_eq!(user.guard_alone("k", &second.version).await, Ok(second.token));
}

/// `MySQL` keeps a routine unchanged for each transaction that called it, and further calls wait behind the change.
async fn a_start_that_makes_the_routines_anew_does_not_wait_for_ever_for_a_transaction(database: Database) {
    if database.dialect != Dialect::MySql {
        return;
    }
    let service = Service::start(&database.url).await;
    let svc = service.client();
    let (user, other) = (User::of(&database, &svc).await, User::of(&database, &svc).await);
    let grant = svc.acquire("k", json!({"guarded": true, "lease_duration_ms": 60_000})).await.grant();
    for routine in ["db_locks_guard", "db_locks_guard_in"] {
        user.run(&format!("ALTER PROCEDURE {routine} COMMENT 'of an earlier version'")).await;
    }
    user.begin().await;
    // A prepared statement would not keep the routine.
    user.run(&format!("CALL db_locks_guard_in('k', '{}', '{}')", grant.version, svc.tenant())).await;
    let without = Service::start_with(&database.url, &[("DB_LOCKS_MIGRATE_WAIT_MS", "500")]).await;
    let there = svc.at(without.port());
    assert_eq!(there.acquire("guarded", json!({"guarded": true})).await.status, 400);
    there.hold("other").await;
    assert_eq!(other.guard_alone("k", &grant.version).await, Ok(grant.token));
    user.run("COMMIT").await;
    let with = Service::start(&database.url).await;
    svc.at(with.port()).acquire("guarded", json!({"guarded": true})).await.grant();
}

/// The change tries again and again with short waits, since all other sessions wait behind each try.
async fn a_change_of_the_schema_waits_for_a_transaction_that_called_the_guard(database: Database) {
    if database.dialect == Dialect::Sqlite {
        return;
    }
    let service = Service::start(&database.url).await;
    let svc = service.client();
    let user = User::of(&database, &svc).await;
    let grant = svc.acquire("k", json!({"guarded": true, "lease_duration_ms": 60_000})).await.grant();
    user.begin().await;
    assert_eq!(user.guard("k", &grant.version).await, Ok(grant.token));
    let mut change = Box::pin(run_program(&database.url, &["migrate", "redo", "--yes"]));
    // A single try has ended by then.
    assert!(tokio::time::timeout(Duration::from_millis(2_500), &mut change).await.is_err());
    user.run("COMMIT").await;
    let output = change.await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
