//! Acquires that do not create: `acquire_only_if_already_exists`.

use serde_json::json;

use crate::support::{Client, random_version};

on_every_database![with_client:
    a_lock_that_does_not_exist_is_not_created,
    a_lock_that_exists_is_granted,
    a_deleted_lock_does_not_exist,
    the_condition_does_not_let_anybody_past_the_holder,
];

fn only_if_exists() -> serde_json::Value {
    json!({"acquire_only_if_already_exists": true, "wait_ms": 0})
}

async fn a_lock_that_does_not_exist_is_not_created(svc: Client) {
    svc.acquire("k", only_if_exists()).await.problem(404, "not-found");
    svc.lock("k").await.problem(404, "not-found");
    let mut chosen = only_if_exists();
    chosen["version"] = json!(random_version());
    svc.acquire("k", chosen.clone()).await.problem(404, "not-found");
    svc.put("/locks/k", json!({})).await.expect(201);
    svc.acquire("k", chosen).await.grant();
}

async fn a_lock_that_exists_is_granted(svc: Client) {
    svc.put("/locks/put", json!({})).await.expect(201);
    svc.acquire("put", only_if_exists()).await.grant();
    let first = svc.hold("released").await;
    svc.release("released", &first.version).await.unheld(200);
    svc.acquire("released", only_if_exists()).await.grant();
}

async fn a_deleted_lock_does_not_exist(svc: Client) {
    svc.put("/locks/k", json!({})).await.expect(201);
    svc.delete("/locks/k").await.expect(204);
    svc.acquire("k", only_if_exists()).await.problem(404, "not-found");
    let grant = svc.acquire("l", json!({"delete_on_release": true})).await.grant();
    svc.release("l", &grant.version).await.unheld(200);
    svc.acquire("l", only_if_exists()).await.problem(404, "not-found");
}

/// Guards invariant 1.
async fn the_condition_does_not_let_anybody_past_the_holder(svc: Client) {
    svc.hold("k").await;
    svc.acquire("k", only_if_exists()).await.not_granted("no_wait");
}
