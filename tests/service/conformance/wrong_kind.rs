//! A key is either a lock or a semaphore, and is refused as the other kind.

use serde_json::json;

use crate::support::{Client, random_version};

on_every_database![with_client:
    a_semaphore_is_not_used_as_a_lock,
    a_lock_is_not_used_as_a_semaphore,
    a_deleted_key_may_become_the_other_kind,
];

async fn a_semaphore_is_not_used_as_a_lock(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 1})).await.expect(201);
    svc.acquire("s", json!({})).await.problem(409, "wrong-kind");
    svc.acquire("s", json!({"wait_ms": 0, "version": random_version()})).await.problem(409, "wrong-kind");
    svc.lock("s").await.problem(409, "wrong-kind");
    svc.put("/locks/s", json!({})).await.problem(409, "wrong-kind");
    svc.delete("/locks/s").await.problem(409, "wrong-kind");
    assert_eq!(svc.get("/semaphores/s").await.expect(200).body["busy_count"], 0);
}

async fn a_lock_is_not_used_as_a_semaphore(svc: Client) {
    let grant = svc.hold("k").await;
    let version = json!({"version": grant.version});
    svc.post("/semaphores/k/acquire", json!({"wait_ms": 0})).await.problem(409, "wrong-kind");
    svc.acquire("k", json!({"uses_semaphore": true, "wait_ms": 0})).await.problem(409, "wrong-kind");
    svc.post("/semaphores/k/heartbeat", version.clone()).await.problem(409, "wrong-kind");
    svc.post("/semaphores/k/release", version).await.problem(409, "wrong-kind");
    svc.get("/semaphores/k").await.problem(409, "wrong-kind");
    svc.get("/semaphores/k/permits").await.problem(409, "wrong-kind");
    svc.put("/semaphores/k", json!({"max_size": 1})).await.problem(409, "wrong-kind");
    svc.delete("/semaphores/k").await.problem(409, "wrong-kind");
    assert_eq!(svc.lock("k").await.grant().version, grant.version);
}

async fn a_deleted_key_may_become_the_other_kind(svc: Client) {
    svc.put("/semaphores/k", json!({"max_size": 1})).await.expect(201);
    svc.delete("/semaphores/k").await.expect(204);
    let grant = svc.hold("k").await;
    svc.delete(&format!("/locks/k?version={}", grant.version)).await.expect(204);
    svc.put("/semaphores/k", json!({"max_size": 1})).await.expect(201);
    svc.get("/semaphores/k").await.expect(200);
}
