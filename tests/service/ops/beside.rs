//! The service in a database that another program uses too.

use std::time::Duration;

use super::on_every_database;
use crate::support::{Database, Dialect, Service, random_text, service::run_program, sql};

on_every_database![with_database:
    migrations_of_an_application_are_its_own_affair,
    a_table_of_an_application_is_not_adopted,
];

/// The longest time of a failed start.
const FAILS: Duration = Duration::from_secs(20);

async fn run(database: &Database, statement: &str) {
    sql::execute(&database.url, statement).await.unwrap();
}

async fn migrations_of_an_application_are_its_own_affair(database: Database) {
    run(
        &database,
        "CREATE TABLE seaql_migrations (version VARCHAR(255) PRIMARY KEY, applied_at BIGINT NOT NULL)",
    )
    .await;
    run(&database, "INSERT INTO seaql_migrations VALUES ('m20200101_000001_of_an_application', 0)").await;
    let service = Service::start(&database.url).await;
    service.client().hold("k").await;
    run(&database, "INSERT INTO seaql_migrations VALUES ('m29990101_000001_of_an_application', 0)").await;
    assert_eq!(service.client().get("/ready").await.status, 200);
    let rows = sql::number(&database.url, "SELECT COUNT(*) FROM seaql_migrations").await.unwrap();
    assert_eq!(rows, 2, "nothing of ours is in it");
    Service::start(&database.url).await.client().hold("k").await;
}

async fn a_table_of_an_application_is_not_adopted(database: Database) {
    run(&database, "CREATE TABLE waiters (id INTEGER PRIMARY KEY, tenant VARCHAR(10))").await;
    let mut service = Service::spawn(&database.url, &[]);
    let status = service.end(FAILS).await;
    let log = service.log();
    let way_out = match database.dialect {
        Dialect::Sqlite => "another file",
        Dialect::Postgres => "?options=-csearch_path%3Ddb_locks",
        Dialect::MariaDb | Dialect::MySql => "a database of its own",
    };
    assert!(!status.success() && log.contains("waiters") && log.contains(way_out), "{log}");
    run(&database, "INSERT INTO waiters VALUES (1, 'x')").await;
    if database.dialect == Dialect::Postgres {
        let own = format!("{}?options=-csearch_path%3Ddb_locks", database.url);
        Service::start(&own).await.client().hold("k").await;
        Service::start(&own).await.client().hold("k").await;
    }
}

/// A table that lost a column by hand.
#[tokio::test]
async fn a_table_without_one_of_its_columns_ends_the_start() {
    let database = Dialect::Sqlite.database().await.unwrap();
    assert!(run_program(&database.url, &["migrate", "up"]).await.status.success());
    run(&database, "ALTER TABLE replicas DROP COLUMN beat").await;
    for settings in [&[][..], &[("DB_LOCKS_MIGRATE", "false")]] {
        let mut service = Service::spawn(&database.url, settings);
        let status = service.end(FAILS).await;
        assert!(!status.success() && service.log().contains("replicas"), "{}", service.log());
    }
}

/// A user with rights on rows only is enough if there is nothing to migrate.
#[tokio::test]
async fn rights_on_rows_are_enough_for_a_current_schema() {
    for dialect in Dialect::SERVERS {
        let Some(database) = dialect.database().await else { continue };
        let user = format!("rows_{}", random_text());
        assert!(run_program(&database.url, &["migrate", "up"]).await.status.success());
        let statements = if dialect == Dialect::Postgres {
            vec![
                format!("CREATE ROLE {user} LOGIN"),
                format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {user}"),
            ]
        } else {
            let name = database.url.rsplit('/').next().unwrap();
            vec![
                format!("CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'rows'"),
                format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.* TO {user}@'127.0.0.1'"),
            ]
        };
        for statement in statements {
            run(&database, &statement).await;
        }
        let (scheme, rest) = database.url.split_once("://").unwrap();
        let (_, rest) = rest.split_once('@').unwrap();
        let service = Service::start(&format!("{scheme}://{user}:rows@{rest}")).await;
        service.client().hold("k").await;
    }
}
