//! Two versions of the schema at once: a newer version changes the database while replicas of this version run.

use std::time::Duration;

use serde_json::json;

use super::on_every_database;
use crate::support::{Answer, Client, Database, Dialect, Service, eventually, sql};

on_every_database![with_database:
    a_schema_that_became_newer_stops_writes_and_waiters,
    an_upgrade_that_older_programs_can_live_with_disturbs_nobody,
    a_database_of_the_first_version_is_taken_over,
];

/// Longer than the pause between two checks of the schema.
const SEEN: Duration = Duration::from_secs(10);

/// Leaves the records of a newer version's migration.
async fn apply(database: &Database, name: &str, oldest: Option<&str>) {
    let run = async |statement: String| sql::execute(&database.url, &statement).await.unwrap();
    if let Some(oldest) = oldest {
        run(format!("INSERT INTO db_locks_compatibility VALUES ('{name}', '{oldest}')")).await;
    }
    run(format!("INSERT INTO db_locks_migrations VALUES ('{name}', 0)")).await;
}

async fn until_refused(svc: &Client) {
    eventually("writes are refused", SEEN, async || {
        (svc.acquire("fresh", json!({"wait_ms": 0, "lease_duration_ms": 1})).await.status == 503)
            .then_some(())
    })
    .await;
}

fn speaks_of_the_schema(answer: &Answer) {
    answer.unavailable();
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.contains("schema") && !detail.contains("future"), "{}", answer.text);
}

/// Guards invariant 1: this version may not know how to write a newer schema.
async fn a_schema_that_became_newer_stops_writes_and_waiters(database: Database) {
    let service = Service::start(&database.url).await;
    let svc = service.client();
    let held = svc.hold("k").await;
    let waiting = svc.queue_up("k", json!({"wait_ms": 60_000}), 1).await;
    apply(&database, "m29991231_000001_from_the_future", None).await;
    speaks_of_the_schema(&svc.get("/ready").await);
    until_refused(&svc).await;
    speaks_of_the_schema(&waiting.await.unwrap());
    speaks_of_the_schema(&svc.heartbeat("k", &held.version).await);
    speaks_of_the_schema(&svc.release("k", &held.version).await);
    speaks_of_the_schema(&svc.put("/semaphores/s", json!({"max_size": 1})).await);
    assert_eq!(svc.lock("k").await.grant().version, held.version, "reading harms nobody");
    service.until_logged("from_the_future").await;

    let undone = "DELETE FROM db_locks_migrations WHERE version = 'm29991231_000001_from_the_future'";
    sql::execute(&database.url, undone).await.unwrap();
    eventually("ready again", SEEN, async || (svc.get("/ready").await.status == 200).then_some(())).await;
    svc.heartbeat("k", &held.version).await.grant();
}

/// Guards invariant 1 and 3: replicas of both versions grant, and nobody is refused.
async fn an_upgrade_that_older_programs_can_live_with_disturbs_nobody(database: Database) {
    let service = Service::start(&database.url).await;
    let svc = service.client();
    let traffic = tokio::spawn(traffic(svc.clone()));
    sql::execute(&database.url, "ALTER TABLE locks ADD COLUMN added_later BIGINT").await.unwrap();
    apply(&database, "m29991231_000001_additive", Some("m20261126_000006_row_types")).await;
    // A replica of this version is started again in the middle of the upgrade.
    let again = Service::start(&database.url).await;
    assert_eq!(again.client().get("/ready").await.status, 200);
    traffic.await.unwrap();
    assert_eq!(svc.get("/ready").await.status, 200);

    apply(&database, "m29991231_000002_from_the_future", Some("m29991231_000001_additive")).await;
    until_refused(&svc).await;
    until_refused(&svc.at(again.port())).await;
}

/// Acquires and releases for longer than a replica takes to notice a change of the schema.
async fn traffic(svc: Client) {
    let until = std::time::Instant::now() + Duration::from_secs(4);
    while std::time::Instant::now() < until {
        let held = svc.hold("busy").await;
        svc.heartbeat("busy", &held.version).await.grant();
        svc.release("busy", &held.version).await.unheld(200);
    }
}

/// Makes a database look like one of the first version.
async fn as_of_the_first_version(database: &Database) {
    drop(Service::start(&database.url).await);
    for statement in [
        "DROP TABLE db_locks_compatibility",
        "ALTER TABLE db_locks_migrations RENAME TO seaql_migrations",
        "DELETE FROM seaql_migrations WHERE version > 'm20261126_000007_locks_by_rowid'",
    ] {
        sql::execute(&database.url, statement).await.unwrap();
    }
}

/// Replicas of the first version read `seaql_migrations`, and would apply all migrations again if it were empty.
async fn a_database_of_the_first_version_is_taken_over(database: Database) {
    as_of_the_first_version(&database).await;
    let count = async |query: &str| sql::number(&database.url, query).await.unwrap();
    let newest = "SELECT COUNT(*) FROM seaql_migrations WHERE version = 'm20261127_000008_ended_versions'";
    assert_eq!((count("SELECT COUNT(*) FROM seaql_migrations").await, count(newest).await), (7, 0));
    let (one, other) = tokio::join!(Service::start(&database.url), Service::start(&database.url));
    let all = count("SELECT COUNT(*) FROM db_locks_migrations").await;
    assert!(count("SELECT COUNT(*) FROM db_locks_compatibility").await >= 3);
    let rows = count("SELECT COUNT(*) FROM seaql_migrations").await;
    assert!(
        all >= 8 && rows >= 8,
        "the older records stay, or older replicas would start again: {all}, {rows}"
    );
    assert_eq!(
        count(newest).await,
        1,
        "older replicas refuse to start after a migration that they cannot live with"
    );
    let svc = one.client();
    let held = svc.hold("k").await;
    assert_eq!(svc.at(other.port()).lock("k").await.grant().version, held.version);
}

/// If another program uses that table, the first version refuses to start anyway, and that program refuses our rows.
#[tokio::test]
async fn records_leave_a_table_that_another_program_uses() {
    let database = Dialect::Sqlite.database().await.unwrap();
    as_of_the_first_version(&database).await;
    sql::execute(
        &database.url,
        "INSERT INTO seaql_migrations VALUES ('m20200101_000001_of_an_application', 0)",
    )
    .await
    .unwrap();
    let service = Service::start(&database.url).await;
    service.client().hold("k").await;
    let left = sql::number(&database.url, "SELECT COUNT(*) FROM seaql_migrations").await.unwrap();
    assert_eq!(left, 1, "the application's own");
}
