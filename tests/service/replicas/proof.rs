//! A replica whose database shows rows but accepts no writes to them. The rows may be old, so it answers no grant from
//! them.

use sea_orm::{ConnectionTrait, DatabaseConnection};
use serde_json::{Value, json};

use super::on_every_database;
use crate::support::{Answer, Client, Database, Dialect, Fleet, SOON, eventually, random_version, sql};

on_every_database![with_database:
    a_repeat_is_answered_only_if_its_row_can_be_written,
    a_reentrant_acquire_is_answered_only_if_its_row_can_be_written,
    a_repeat_for_a_permit_is_answered_only_if_its_row_can_be_written,
    answers_that_grant_nothing_need_no_write,
];

/// A foreign transaction that blocks writes to the row of a key.
async fn keep_locked(database: &Database, client: &Client, key: &str) -> DatabaseConnection {
    let session = sql::connect(&database.url).await.unwrap();
    let quote = if matches!(database.dialect, Dialect::MariaDb | Dialect::MySql) { '`' } else { '"' };
    let tenant = client.tenant();
    session.execute_unprepared("BEGIN").await.unwrap();
    let lock =
        format!("UPDATE locks SET kind = kind WHERE tenant = '{tenant}' AND {quote}key{quote} = '{key}'");
    assert_eq!(session.execute_unprepared(&lock).await.unwrap().rows_affected(), 1);
    session
}

/// Asks both replicas for the existing grant while the row cannot be written, and again when it can.
async fn is_answered_only_with_a_write(fleet: &Fleet, key: &str, path: &str, ask: Value) {
    // The first repeat records that two requests may rely on the grant. The second one would have nothing to write.
    let first = fleet.at(0).post(path, ask.clone()).await.grant();
    fleet.at(1).post(path, ask.clone()).await.grant();
    let session = keep_locked(&fleet.database, &fleet.at(0), key).await;
    let (one, two) = (fleet.at(0), fleet.at(1));
    let (one, two) = tokio::join!(one.post(path, ask.clone()), two.post(path, ask.clone()));
    one.unavailable();
    two.unavailable();
    session.execute_unprepared("ROLLBACK").await.unwrap();
    let again = async || {
        let answer: Answer = fleet.at(1).post(path, ask.clone()).await;
        (answer.status != 503).then_some(answer)
    };
    let again = eventually("the row can be written", SOON, again).await.grant();
    assert_eq!((again.version, again.token), (first.version, first.token));
}

/// Guards invariants 1 and 9.
async fn a_repeat_is_answered_only_if_its_row_can_be_written(database: Database) {
    let fleet = Fleet::start(database, 2).await;
    let ask = json!({"version": random_version(), "lease_duration_ms": 60_000, "wait_ms": 0});
    is_answered_only_with_a_write(&fleet, "k", "/locks/k/acquire", ask).await;
}

/// Guards invariant 1.
async fn a_reentrant_acquire_is_answered_only_if_its_row_can_be_written(database: Database) {
    let fleet = Fleet::start(database, 2).await;
    let ask = json!({"owner": "me", "reentrant": true, "lease_duration_ms": 60_000, "wait_ms": 0});
    is_answered_only_with_a_write(&fleet, "k", "/locks/k/acquire", ask).await;
}

/// Guards invariants 1 and 9.
async fn a_repeat_for_a_permit_is_answered_only_if_its_row_can_be_written(database: Database) {
    let fleet = Fleet::start(database, 2).await;
    fleet.at(0).put("/semaphores/s", json!({"max_size": 2})).await.expect(201);
    let ask = json!({"version": random_version(), "lease_duration_ms": 60_000, "wait_ms": 0});
    is_answered_only_with_a_write(&fleet, "s", "/semaphores/s/acquire", ask).await;
}

async fn answers_that_grant_nothing_need_no_write(database: Database) {
    let fleet = Fleet::start(database, 2).await;
    fleet.at(0).hold("k").await;
    let session = keep_locked(&fleet.database, &fleet.at(0), "k").await;
    for replica in 0..2 {
        let svc = fleet.at(replica);
        svc.acquire("k", json!({"wait_ms": 0})).await.not_granted("no_wait");
        svc.heartbeat("k", &random_version()).await.problem(409, "version-mismatch");
        assert_eq!(svc.lock("k").await.expect(200).body["locked"], true);
        svc.heartbeat("absent", &random_version()).await.problem(404, "not-found");
    }
    session.execute_unprepared("ROLLBACK").await.unwrap();
}
