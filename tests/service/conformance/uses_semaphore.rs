//! Permits through the paths of locks: `uses_semaphore`.

use serde_json::json;

use crate::support::{Client, random_version};

on_every_database![with_client:
    an_acquire_may_take_a_permit,
    heartbeat_and_release_work_under_locks_too,
    it_does_not_create_the_semaphore,
    fields_that_permits_lack_are_refused_unless_false,
    a_wait_for_a_permit_is_in_the_semaphores_queue,
];

async fn an_acquire_may_take_a_permit(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 2, "lease_duration_ms": 45_000})).await.expect(201);
    let take = json!({"uses_semaphore": true, "owner": "me", "wait_ms": 0, "data": "text"});
    let permit = svc.acquire("s", take.clone()).await.grant();
    assert_eq!(permit.body["semaphore_key"], "s");
    assert_eq!(permit.body["lease_duration_ms"], 45_000, "the semaphore's default");
    assert_eq!(permit.body["data"], "text");
    svc.acquire("s", take.clone()).await.grant();
    svc.acquire("s", take).await.not_granted("no_wait");
    assert_eq!(svc.get("/semaphores/s").await.body["busy_count"], 2);
}

async fn heartbeat_and_release_work_under_locks_too(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 2})).await.expect(201);
    let permit = svc.acquire("s", json!({"uses_semaphore": true})).await.grant();
    assert_eq!(svc.heartbeat("s", &permit.version).await.grant().token, permit.token);
    svc.heartbeat("s", &random_version()).await.problem(409, "version-mismatch");
    svc.release("s", &permit.version).await.unheld(200);
    svc.release("s", &permit.version).await.unheld(200);
    let other = svc.post("/semaphores/s/acquire", json!({})).await.grant();
    svc.release("s", &other.version).await.unheld(200);
    assert_eq!(svc.get("/semaphores/s").await.body["busy_count"], 0);
}

async fn it_does_not_create_the_semaphore(svc: Client) {
    svc.acquire("s", json!({"uses_semaphore": true})).await.problem(404, "not-found");
    svc.get("/semaphores/s").await.problem(404, "not-found");
    svc.lock("s").await.problem(404, "not-found");
}

async fn fields_that_permits_lack_are_refused_unless_false(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 2})).await.expect(201);
    for field in ["reentrant", "replace_data", "acquire_only_if_already_exists", "delete_on_release"] {
        let take = |value: bool| json!({"uses_semaphore": true, "owner": "me", "wait_ms": 0, field: value});
        svc.acquire("s", take(true)).await.names_invalid(field);
        let permit = svc.acquire("s", take(false)).await.grant();
        svc.release("s", &permit.version).await.unheld(200);
    }
}

/// Guards invariant 5: both paths lead to one queue.
async fn a_wait_for_a_permit_is_in_the_semaphores_queue(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 1})).await.expect(201);
    let held = svc.acquire("s", json!({"uses_semaphore": true, "lease_duration_ms": 60_000})).await.grant();
    let first = svc.post_aside("/locks/s/acquire", json!({"uses_semaphore": true, "wait_ms": 30_000}));
    svc.until_waiters("/semaphores/s", 1).await;
    let second = svc.post_aside("/semaphores/s/acquire", json!({"wait_ms": 30_000}));
    svc.until_waiters("/semaphores/s", 2).await;
    svc.release("s", &held.version).await.unheld(200);
    let granted = first.await.unwrap().grant();
    assert!(!second.is_finished());
    svc.release("s", &granted.version).await.unheld(200);
    second.await.unwrap().grant();
}
