//! Semaphores that grow and shrink.

use serde_json::json;

use crate::support::Client;

on_every_database![with_client:
    a_put_resizes_and_keeps_what_is_left_out,
    growing_serves_waiters,
    shrinking_takes_nothing_away_and_grants_nobody_until_enough_came_back,
];

async fn permit(svc: &Client) -> String {
    svc.post("/semaphores/s/acquire", json!({"wait_ms": 0, "lease_duration_ms": 60_000}))
        .await
        .grant()
        .version
}

async fn release(svc: &Client, version: &str) {
    svc.post("/semaphores/s/release", json!({"version": version})).await.unheld(200);
}

async fn a_put_resizes_and_keeps_what_is_left_out(svc: Client) {
    let body = json!({"max_size": 2, "lease_duration_ms": 7_000});
    let created = svc.put("/semaphores/s", body).await.expect(201).body;
    let resized = svc.put("/semaphores/s", json!({"max_size": 5})).await.expect(200).body;
    assert_eq!((&resized["max_size"], &resized["lease_duration_ms"]), (&json!(5), &json!(7_000)));
    assert_eq!(resized["created_at"], created["created_at"]);
    let body = json!({"max_size": 5, "lease_duration_ms": 8_000});
    assert_eq!(svc.put("/semaphores/s", body).await.expect(200).body["lease_duration_ms"], 8_000);
    assert_eq!(svc.post("/semaphores/s/acquire", json!({})).await.grant().body["lease_duration_ms"], 8_000);
}

/// Guards invariants 5 and 6: a new permit goes to the first waiter at once.
async fn growing_serves_waiters(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 1})).await.expect(201);
    permit(&svc).await;
    let wait = json!({"wait_ms": 30_000, "lease_duration_ms": 60_000});
    let mut waiting = Vec::new();
    for place in 1..=3 {
        waiting.push(svc.post_aside("/semaphores/s/acquire", wait.clone()));
        svc.until_waiters("/semaphores/s", place).await;
    }
    svc.put("/semaphores/s", json!({"max_size": 3})).await.expect(200);
    let last = waiting.pop().unwrap();
    for granted in waiting {
        granted.await.unwrap().grant();
    }
    svc.until_waiters("/semaphores/s", 1).await;
    assert!(!last.is_finished());
    assert_eq!(svc.get("/semaphores/s").await.body["busy_count"], 3);
    svc.put("/semaphores/s", json!({"max_size": 4})).await.expect(200);
    last.await.unwrap().grant();
}

/// Guards invariant 1 after a shrink: there is no new grant until fewer permits are held than the new size.
async fn shrinking_takes_nothing_away_and_grants_nobody_until_enough_came_back(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 3})).await.expect(201);
    let permits = [permit(&svc).await, permit(&svc).await, permit(&svc).await];
    let shrunk = svc.put("/semaphores/s", json!({"max_size": 1})).await.expect(200).body;
    assert_eq!((&shrunk["max_size"], &shrunk["busy_count"]), (&json!(1), &json!(3)));
    svc.post("/semaphores/s/heartbeat", json!({"version": permits[2]})).await.grant();
    let waiting = svc.post_aside("/semaphores/s/acquire", json!({"wait_ms": 30_000}));
    svc.until_waiters("/semaphores/s", 1).await;
    for version in &permits[..2] {
        release(&svc, version).await;
        svc.post("/semaphores/s/acquire", json!({"wait_ms": 0})).await.not_granted("no_wait");
        assert!(!waiting.is_finished());
    }
    release(&svc, &permits[2]).await;
    waiting.await.unwrap().grant();
    assert_eq!(svc.get("/semaphores/s").await.body["busy_count"], 1);
}
