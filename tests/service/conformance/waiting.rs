//! Waiting: locks are handed over in order, and waits end in time.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{Client, SHORT_MS, TRIES, expect, time::epoch_ms, try_until_undisturbed};

on_every_database![with_client:
    a_release_hands_the_lock_over,
    the_end_of_a_lease_hands_the_lock_over,
    waiters_are_granted_in_the_order_of_their_arrival,
    a_newcomer_never_overtakes_waiters,
    a_caller_that_gives_up_is_answered_its_position_and_leaves_the_queue,
    a_heartbeat_keeps_waiters_waiting,
    a_deletion_hands_over_first,
    a_release_that_deletes_hands_over_first,
    a_lock_that_deletes_itself_is_handed_over,
    waiters_are_shown,
];

fn waits(wait_ms: u64) -> Value {
    json!({"wait_ms": wait_ms, "lease_duration_ms": 60_000})
}

/// Guards invariant 6: a free lock with a queue is granted at once.
async fn a_release_hands_the_lock_over(svc: Client) {
    let held = svc.hold("k").await;
    let waiting = svc.queue_up("k", waits(30_000), 1).await;
    let released = svc.release("k", &held.version).await;
    let body = released.unheld(200);
    assert_eq!(body["fencing_token"], held.token, "the lock as the release left it, not as it is by now");
    let grant = waiting.await.unwrap().grant();
    assert!(grant.token > held.token);
    assert_ne!(grant.version, held.version);
    assert!(
        grant.body["expires_in_ms"].as_i64().unwrap() > 50_000,
        "leased from the grant, not from the request"
    );
    svc.release("k", &held.version).await.problem(409, "version-mismatch");
}

/// Guards invariant 6: a holder that vanished is replaced when its lease ends, and not before.
async fn the_end_of_a_lease_hands_the_lock_over(svc: Client) {
    hands_over_at_the_end_of_a_lease(&svc, &svc, "/locks/k").await;
}

/// Checks that a waiter is granted the lock or permit of this path soon after the end of its holder's lease, and not
/// before.
pub(crate) async fn hands_over_at_the_end_of_a_lease(holder: &Client, waiter: &Client, path: &str) {
    let acquire = format!("{path}/acquire");
    try_until_undisturbed(TRIES, async || {
        let held = holder.post(&acquire, json!({"wait_ms": 30_000, "lease_duration_ms": 800})).await;
        // The lease may have ended before its answer.
        expect(held.status == 200, || format!("not held: {}", held.text))?;
        let held = held.grant();
        let grant = waiter.post(&acquire, waits(30_000)).await.grant();
        let late_ms = epoch_ms(&grant.body["acquired_at"]) - epoch_ms(&held.body["expires_at"]);
        assert!(late_ms >= 0, "granted {} ms before the end", -late_ms);
        waiter.post(&format!("{path}/release"), json!({"version": grant.version})).await.unheld(200);
        expect(late_ms < 1_000, || format!("granted {late_ms} ms after the end"))
    })
    .await;
}

/// Guards invariant 5: first come, first served.
async fn waiters_are_granted_in_the_order_of_their_arrival(svc: Client) {
    let held = svc.hold("k").await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for place in 1..=10 {
        let (caller, order) = (svc.clone(), order.clone());
        waiting.push(tokio::spawn(async move {
            let grant = caller.acquire("k", waits(30_000)).await.grant();
            order.lock().unwrap().push((place, grant.token));
            caller.release("k", &grant.version).await.unheld(200);
        }));
        svc.until_waiters("/locks/k", place).await;
    }
    svc.release("k", &held.version).await.unheld(200);
    for task in waiting {
        task.await.unwrap();
    }
    let order = order.lock().unwrap();
    assert_eq!(order.iter().map(|(place, _)| *place).collect::<Vec<_>>(), (1..=10).collect::<Vec<i64>>());
    assert!(order.is_sorted_by(|a, b| a.1 < b.1), "{order:?}");
}

/// Guards invariant 5: a newcomer does not overtake waiters, however often it tries.
async fn a_newcomer_never_overtakes_waiters(svc: Client) {
    let held = svc.hold("k").await;
    let mut waiting = Vec::new();
    for place in 1..=3 {
        waiting.push(svc.queue_up("k", waits(30_000), place).await);
    }
    // The lease ends while newcomers try without a pause.
    let ends_soon = json!({"version": held.version, "lease_duration_ms": 1_000});
    svc.post("/locks/k/heartbeat", ends_soon).await.expect_success();
    while waiting.iter().all(|task| !task.is_finished()) {
        svc.acquire("k", json!({"wait_ms": 0})).await.not_granted("no_wait");
    }
    // At each hand-over by release a newcomer tries too. The first waiter is granted, never the newcomer.
    let last = waiting.pop().unwrap();
    for task in waiting {
        let grant = task.await.unwrap().grant();
        let (knock, released) =
            tokio::join!(svc.acquire("k", json!({"wait_ms": 0})), svc.release("k", &grant.version));
        knock.not_granted("no_wait");
        released.unheld(200);
    }
    last.await.unwrap().grant();
}

/// Guards invariant 7: a caller that stopped waiting never holds the lock.
async fn a_caller_that_gives_up_is_answered_its_position_and_leaves_the_queue(svc: Client) {
    let held = svc.acquire("k", json!({"owner": "holder", "lease_duration_ms": 60_000})).await.grant();
    let first = svc.queue_up("k", waits(30_000), 1).await;
    let begin = Instant::now();
    let gave_up = svc.acquire("k", waits(300)).await;
    assert!(begin.elapsed() >= Duration::from_millis(300));
    let problem = gave_up.not_granted("timed_out");
    assert_eq!(problem["queue_position"], 2);
    assert_eq!(problem["holders"][0]["owner"], "holder");
    assert!(gave_up.retry_after() > 50, "from the earliest expiry: {}", gave_up.retry_after());
    svc.until_waiters("/locks/k", 1).await;
    svc.release("k", &held.version).await.unheld(200);
    let next = first.await.unwrap().grant();
    svc.release("k", &next.version).await.unheld(200);
    svc.lock("k").await.unheld(200);
}

async fn a_heartbeat_keeps_waiters_waiting(svc: Client) {
    let held = svc.acquire("k", json!({"lease_duration_ms": 3_000})).await.grant();
    let waiting = svc.queue_up("k", waits(30_000), 1).await;
    let body = json!({"version": held.version, "lease_duration_ms": 5_000});
    let renewed = svc.post("/locks/k/heartbeat", body).await.grant();
    let granted = waiting.await.unwrap().grant();
    assert!(
        epoch_ms(&granted.body["acquired_at"]) >= epoch_ms(&renewed.body["expires_at"]),
        "not at the old end"
    );
}

/// Guards invariant 2: the lock exists all the time, and its token grows.
async fn a_deletion_hands_over_first(svc: Client) {
    let held = svc.hold("k").await;
    let waiting = svc.queue_up("k", waits(30_000), 1).await;
    svc.delete("/locks/k").await.problem(409, "in-use");
    svc.delete(&format!("/locks/k?version={}", held.version)).await.expect(204);
    let grant = waiting.await.unwrap().grant();
    assert!(grant.token > held.token);
    svc.heartbeat("k", &grant.version).await.grant();
}

/// Guards invariant 2.
async fn a_release_that_deletes_hands_over_first(svc: Client) {
    let held = svc.hold("k").await;
    let waiting = svc.queue_up("k", waits(30_000), 1).await;
    svc.post("/locks/k/release", json!({"version": held.version, "delete_lock": true})).await.unheld(200);
    let grant = waiting.await.unwrap().grant();
    assert!(grant.token > held.token);
    svc.heartbeat("k", &grant.version).await.grant();
}

/// Waiters keep waiting when the lock is deleted with its grant, by a release or by the end of the lease.
async fn a_lock_that_deletes_itself_is_handed_over(svc: Client) {
    let body = json!({"delete_on_release": true, "lease_duration_ms": 60_000});
    let held = svc.acquire("k", body).await.grant();
    let body = json!({"delete_on_release": true, "lease_duration_ms": SHORT_MS, "wait_ms": 30_000});
    let second = svc.queue_up("k", body, 1).await;
    let third = svc.queue_up("k", waits(30_000), 2).await;
    svc.release("k", &held.version).await.unheld(200);
    let second = second.await.unwrap().grant();
    let third = third.await.unwrap().grant();
    assert!(held.token < second.token && second.token < third.token);
    assert_eq!(third.body["delete_on_release"], false);
}

async fn waiters_are_shown(svc: Client) {
    let held = svc.hold("k").await;
    let _waiting = [svc.queue_up("k", waits(30_000), 1).await, svc.queue_up("k", waits(30_000), 2).await];
    assert_eq!(svc.heartbeat("k", &held.version).await.body["waiters"], 2);
    assert_eq!(svc.get("/locks").await.body["items"][0]["waiters"], 2);
    assert_eq!(svc.acquire("k", json!({"wait_ms": 0})).await.body["waiters"], 2);
}
