//! Waiting for permits.

use serde_json::{Value, json};

use super::waiting::hands_over_at_the_end_of_a_lease;
use crate::support::{Client, wire::Call};

on_every_database![with_client:
    permits_are_handed_over_in_order,
    the_end_of_a_permits_lease_hands_it_over,
    a_newcomer_takes_no_permit_past_the_queue,
    a_caller_that_gives_up_or_hangs_up_leaves_the_queue,
];

fn waits(wait_ms: u64) -> Value {
    json!({"wait_ms": wait_ms, "lease_duration_ms": 60_000})
}

/// Guards invariant 5 for semaphores.
async fn permits_are_handed_over_in_order(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 2})).await.expect(201);
    let mut out = Vec::new();
    for _ in 0..2 {
        out.push(svc.post("/semaphores/s/acquire", waits(0)).await.grant().version);
    }
    let mut waiting = std::collections::VecDeque::new();
    for place in 1..=6 {
        waiting.push_back(svc.post_aside("/semaphores/s/acquire", waits(30_000)));
        svc.until_waiters("/semaphores/s", place).await;
    }
    let mut last = 0;
    while let Some(next) = waiting.pop_front() {
        svc.post("/semaphores/s/release", json!({"version": out.remove(0)})).await.unheld(200);
        let grant = next.await.unwrap().grant();
        assert!(grant.token > last);
        last = grant.token;
        assert!(waiting.iter().all(|task| !task.is_finished()), "one place, one grant");
        out.push(grant.version);
    }
}

/// Guards invariant 6 for semaphores.
async fn the_end_of_a_permits_lease_hands_it_over(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 2})).await.expect(201);
    svc.post("/semaphores/s/acquire", waits(0)).await.grant();
    hands_over_at_the_end_of_a_lease(&svc, &svc, "/semaphores/s").await;
}

/// Guards invariant 5 for semaphores.
async fn a_newcomer_takes_no_permit_past_the_queue(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 1})).await.expect(201);
    let mut held = svc.post("/semaphores/s/acquire", waits(0)).await.grant();
    let mut waiting = Vec::new();
    for place in 1..=3 {
        waiting.push(svc.post_aside("/semaphores/s/acquire", waits(30_000)));
        svc.until_waiters("/semaphores/s", place).await;
    }
    for task in waiting {
        let release = json!({"version": held.version});
        let (knock, released) = tokio::join!(
            svc.post("/semaphores/s/acquire", waits(0)),
            svc.post("/semaphores/s/release", release)
        );
        knock.not_granted("no_wait");
        released.unheld(200);
        held = task.await.unwrap().grant();
    }
}

/// Guards invariant 7 for semaphores.
async fn a_caller_that_gives_up_or_hangs_up_leaves_the_queue(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 1})).await.expect(201);
    let held = svc.post("/semaphores/s/acquire", waits(0)).await.grant();
    let call = Call::post(&svc, "/semaphores/s/acquire", &waits(30_000)).await;
    svc.until_waiters("/semaphores/s", 1).await;
    let gave_up = svc.post("/semaphores/s/acquire", waits(200)).await;
    assert_eq!(gave_up.not_granted("timed_out")["queue_position"], 2);
    call.hang_up();
    svc.until_waiters("/semaphores/s", 0).await;
    svc.post("/semaphores/s/release", json!({"version": held.version})).await.unheld(200);
    assert_eq!(svc.get("/semaphores/s").await.body["busy_count"], 0);
}
