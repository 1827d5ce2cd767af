//! One process at a time changes the schema. Others say what they wait for.

use std::time::Duration;

use sea_orm::ConnectionTrait;

use super::on_every_database;
use crate::support::{Database, Dialect, SOON, Service, eventually, sql};

on_every_database![with_database:
    a_start_waits_for_another_migration_and_says_so,
    a_start_behind_a_migration_that_hangs_ends_with_a_message,
];

/// Holds the lock under which every version migrates.
async fn hold(database: &Database) -> (sea_orm::DatabaseConnection, &'static str) {
    let session = sql::connect(&database.url).await.unwrap();
    let (take, give_back) = match database.dialect {
        Dialect::Sqlite => ("BEGIN IMMEDIATE", "ROLLBACK"),
        Dialect::Postgres => {
            ("SELECT pg_advisory_lock(28255715535842163)", "SELECT pg_advisory_unlock_all()")
        }
        Dialect::MariaDb | Dialect::MySql => {
            // The name is valid on the whole server, so services of other tests take the lock for a moment too.
            ("DO GET_LOCK('db_locks_migrate', 60)", "DO RELEASE_LOCK('db_locks_migrate')")
        }
    };
    session.execute_unprepared(take).await.unwrap();
    (session, give_back)
}

async fn tables(database: &Database) -> i64 {
    let query = match database.dialect {
        Dialect::Sqlite => "SELECT COUNT(*) FROM sqlite_master WHERE name = 'locks'",
        Dialect::Postgres => "SELECT COUNT(*) FROM pg_class WHERE relname = 'locks'",
        Dialect::MariaDb | Dialect::MySql => {
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'locks'"
        }
    };
    sql::number(&database.url, query).await.unwrap()
}

async fn a_start_waits_for_another_migration_and_says_so(database: Database) {
    let (session, give_back) = hold(&database).await;
    let mut service = Service::spawn(&database.url, &[]);
    let says = async || service.log().contains("waiting for another migration").then_some(());
    eventually("the log says what is waited for", Duration::from_secs(10), says).await;
    assert_eq!(tables(&database).await, 0, "nothing is migrated without the lock");
    session.execute_unprepared(give_back).await.unwrap();
    service.until_ready().await;
}

async fn a_start_behind_a_migration_that_hangs_ends_with_a_message(database: Database) {
    let (_session, _) = hold(&database).await;
    let mut service = Service::spawn(&database.url, &[("DB_LOCKS_MIGRATE_WAIT_MS", "500")]);
    let status = service.end(SOON).await;
    assert!(!status.success());
    let log = service.log();
    assert!(log.contains("another migration") && log.contains("DB_LOCKS_MIGRATE_WAIT_MS"), "{log}");
    assert_eq!(tables(&database).await, 0);
}
