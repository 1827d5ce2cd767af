//! Rows that the sweeper removes in the background.

use serde_json::json;

use crate::support::{Client, Database, SHORT_MS, SOON, Service, eventually};

on_every_database![with_database:
    an_ended_lock_that_deletes_itself_goes_soon,
    a_lock_that_nobody_touched_goes_where_that_is_configured,
    by_default_free_locks_stay,
];

const FAST: [(&str, &str); 2] =
    [("DB_LOCKS_SWEEP_PERIOD_MS", "100"), ("DB_LOCKS_EXPIRED_DELETE_AFTER_MS", "200")];

async fn until_gone(svc: &Client, key: &str) {
    let gone = async || (svc.lock(key).await.status == 404).then_some(());
    eventually(&format!("{key} is gone"), SOON, gone).await;
}

/// Guards invariant 2 after the sweeper: the token keeps growing.
async fn an_ended_lock_that_deletes_itself_goes_soon(database: Database) {
    let service = Service::start_with(&database.url, &FAST).await;
    let svc = service.client();
    svc.acquire("held", json!({"delete_on_release": true, "lease_duration_ms": 60_000})).await.grant();
    svc.acquire("stays", json!({"lease_duration_ms": SHORT_MS})).await.grant();
    let ends = json!({"delete_on_release": true, "lease_duration_ms": SHORT_MS});
    let first = svc.acquire("k", ends).await.grant();
    until_gone(&svc, "k").await;
    svc.lock("held").await.grant();
    svc.lock("stays").await.unheld(200);
    assert!(svc.hold("k").await.token > first.token);
}

async fn a_lock_that_nobody_touched_goes_where_that_is_configured(database: Database) {
    let idle = [("DB_LOCKS_SWEEP_PERIOD_MS", "100"), ("DB_LOCKS_IDLE_LOCK_RETENTION_MS", "300")];
    let service = Service::start_with(&database.url, &idle).await;
    let svc = service.client();
    let held = svc.hold("held").await;
    svc.put("/semaphores/s", json!({"max_size": 1})).await.expect(201);
    svc.put("/locks/idle", json!({"data": "text"})).await.expect(201);
    let released = svc.hold("released").await;
    svc.release("released", &released.version).await.unheld(200);
    until_gone(&svc, "idle").await;
    until_gone(&svc, "released").await;
    assert_eq!(svc.lock("held").await.grant().version, held.version);
    svc.get("/semaphores/s").await.expect(200);
    assert!(svc.hold("released").await.token > released.token);
}

async fn by_default_free_locks_stay(database: Database) {
    let service = Service::start_with(&database.url, &FAST).await;
    let svc = service.client();
    svc.put("/locks/idle", json!({})).await.expect(201);
    let ends = json!({"delete_on_release": true, "lease_duration_ms": SHORT_MS});
    // Several sweeps later.
    for key in ["a", "b", "c"] {
        svc.acquire(key, ends.clone()).await.grant();
        until_gone(&svc, key).await;
    }
    svc.lock("idle").await.unheld(200);
}
