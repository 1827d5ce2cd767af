//! The schema, by hand and at start.

use std::{process::Output, time::Duration};

use serde_json::json;

use super::on_every_database;
use crate::support::{Database, Service, service::run_program, sql};

on_every_database![with_database:
    the_schema_is_brought_up_and_down_by_hand,
    nothing_is_erased_without_a_yes,
    a_schema_that_is_newer_than_the_program_is_refused,
    without_migrations_an_empty_database_is_not_served,
    with_migrations_by_hand_the_service_serves,
];

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Runs `db-locks migrate …`, which must succeed, and returns its output.
async fn migrate(database: &Database, arguments: &[&str]) -> String {
    let output = run_program(&database.url, &[&["migrate"], arguments].concat()).await;
    let (out, err) = texts(&output);
    assert!(output.status.success(), "migrate {arguments:?}: {}\n{out}{err}", output.status);
    out
}

/// The numbers of migrations that a status lists as applied and as pending.
fn counts(status: &str) -> (usize, usize) {
    let lines = |state: &str| status.lines().filter(|line| line.contains(state)).count();
    (lines("applied"), lines("pending"))
}

async fn the_schema_is_brought_up_and_down_by_hand(database: Database) {
    let (applied, all) = counts(&migrate(&database, &["status"]).await);
    assert!(applied == 0 && all > 0, "nothing is applied to an empty database: {applied}, {all}");
    migrate(&database, &["up"]).await;
    assert_eq!(counts(&migrate(&database, &["status"]).await), (all, 0));
    migrate(&database, &["up"]).await;
    migrate(&database, &["down", "--yes"]).await;
    assert_eq!(counts(&migrate(&database, &["status"]).await), (all - 1, 1));
    migrate(&database, &["redo", "--yes"]).await;
    assert_eq!(counts(&migrate(&database, &["status"]).await), (all, 0));
    let service = Service::start_with(&database.url, &[("DB_LOCKS_MIGRATE", "false")]).await;
    // The routines that users call are no tables, and must exist again too.
    service.client().acquire("k", json!({"guarded": true})).await.grant();
}

/// Guards invariant 3 against a typing error.
async fn nothing_is_erased_without_a_yes(database: Database) {
    let mut service = Service::start(&database.url).await;
    let svc = service.client();
    let held = svc.hold("k").await;
    service.signal("TERM");
    service.end(Duration::from_secs(10)).await;
    for step in ["down", "redo"] {
        let output = run_program(&database.url, &["migrate", step]).await;
        assert!(!output.status.success(), "migrate {step} without anybody to ask");
    }
    let again = Service::start(&database.url).await;
    assert_eq!(svc.at(again.port()).lock("k").await.grant().version, held.version);
}

/// Leaves the records of a later version's migration.
const NEWER: &str =
    "INSERT INTO db_locks_migrations (version, applied_at) VALUES ('m29991231_000001_from_the_future', 0)";

async fn a_schema_that_is_newer_than_the_program_is_refused(database: Database) {
    migrate(&database, &["up"]).await;
    sql::execute(&database.url, NEWER).await.unwrap();
    for settings in [&[][..], &[("DB_LOCKS_MIGRATE", "false")]] {
        let mut service = Service::spawn(&database.url, settings);
        let status = service.end(Duration::from_secs(20)).await;
        assert!(!status.success());
        let log = service.log();
        assert!(log.to_lowercase().contains("newer"), "the log says why:\n{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// The service is not ready, or does not start.
async fn without_migrations_an_empty_database_is_not_served(database: Database) {
    let mut service = Service::spawn(&database.url, &[("DB_LOCKS_MIGRATE", "false")]);
    let status = service.end(Duration::from_secs(20)).await;
    assert!(!status.success());
    assert!(service.log().to_lowercase().contains("migrat"), "the log says what to do:\n{}", service.log());
}

async fn with_migrations_by_hand_the_service_serves(database: Database) {
    migrate(&database, &["up"]).await;
    let service = Service::start_with(&database.url, &[("DB_LOCKS_MIGRATE", "false")]).await;
    service.client().hold("k").await;
}
