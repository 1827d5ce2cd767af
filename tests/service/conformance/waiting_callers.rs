//! Callers that hang up while they wait, and come back.

use serde_json::{Value, json};

use crate::support::{
    Client, random_version,
    wire::{self, Call, the_one_that_waits},
};

on_every_database![with_client:
    a_caller_that_hangs_up_leaves_the_queue,
    a_caller_that_sent_more_than_its_request_and_hangs_up_leaves_the_queue,
    a_first_waiter_that_hung_up_is_not_granted,
    a_caller_that_chose_its_version_keeps_its_place,
    a_kept_place_is_passed_over_meanwhile,
    a_place_is_not_kept_for_ever,
];

fn waits() -> Value {
    json!({"wait_ms": 30_000, "lease_duration_ms": 60_000})
}

fn waits_as(version: &str) -> Value {
    json!({"wait_ms": 30_000, "lease_duration_ms": 60_000, "version": version})
}

/// A caller that waits in place `place`, and can hang up.
async fn call(svc: &Client, body: &Value, place: i64) -> Call {
    let call = Call::post(svc, "/locks/k/acquire", body).await;
    svc.until_waiters("/locks/k", place).await;
    call
}

/// Guards invariant 7.
async fn a_caller_that_hangs_up_leaves_the_queue(svc: Client) {
    svc.hold("k").await;
    let (first, second) = (call(&svc, &waits(), 1).await, call(&svc, &waits(), 2).await);
    first.hang_up();
    svc.until_waiters("/locks/k", 1).await;
    second.hang_up();
    svc.until_waiters("/locks/k", 0).await;
}

/// Guards invariant 7: bytes that nobody has read yet do not hide that the caller is gone.
async fn a_caller_that_sent_more_than_its_request_and_hangs_up_leaves_the_queue(svc: Client) {
    let held = svc.hold("k").await;
    let pipelined = wire::request("GET", "/health", &[], b"");
    for more in [&b"\r\n"[..], &pipelined] {
        let mut call = Call::post(&svc, "/locks/k/acquire", &waits()).await;
        call.send_more(more).await;
        svc.until_waiters("/locks/k", 1).await;
        call.hang_up();
        svc.until_waiters("/locks/k", 0).await;
    }
    svc.release("k", &held.version).await.unheld(200);
    svc.lock("k").await.unheld(200);
}

/// Guards invariants 6 and 7: the lock goes to the next one, or is free.
async fn a_first_waiter_that_hung_up_is_not_granted(svc: Client) {
    let holder = svc.hold("k").await;
    let (head, next) = (call(&svc, &waits(), 1).await, call(&svc, &waits(), 2).await);
    head.hang_up();
    svc.until_waiters("/locks/k", 1).await;
    svc.release("k", &holder.version).await.unheld(200);
    let grant = next.answer().await.grant();
    let only = call(&svc, &waits(), 1).await;
    only.hang_up();
    svc.until_waiters("/locks/k", 0).await;
    svc.release("k", &grant.version).await.unheld(200);
    svc.lock("k").await.unheld(200);
}

/// Guards invariants 5 and 9: a repeat with the same version finds the old place.
async fn a_caller_that_chose_its_version_keeps_its_place(svc: Client) {
    let held = svc.hold("k").await;
    let version = random_version();
    let mut request = waits_as(&version);
    request["data"] = json!("of the first");
    let first = call(&svc, &request, 1).await;
    let behind = call(&svc, &waits(), 2).await;
    first.hang_up();
    let back = Call::post(&svc, "/locks/k/acquire", &waits_as(&version)).await;
    // This proves that the waiter is attached again: either the waiter or its repeat supersedes the other.
    let again = Call::post(&svc, "/locks/k/acquire", &waits_as(&version)).await;
    let waiting = the_one_that_waits(back, again).await;
    svc.release("k", &held.version).await.unheld(200);
    let grant = waiting.answer().await.grant();
    assert_eq!((&*grant.version, &grant.body["data"]), (&*version, &json!("of the first")));
    svc.release("k", &version).await.unheld(200);
    behind.answer().await.grant();
}

/// Guards invariants 6 and 7: a lock does not wait for a caller that may not come back.
async fn a_kept_place_is_passed_over_meanwhile(svc: Client) {
    let held = svc.hold("k").await;
    let version = random_version();
    let first = call(&svc, &waits_as(&version), 1).await;
    let behind = call(&svc, &waits(), 2).await;
    first.hang_up();
    // The service notices the hang-up at some time that the test cannot see. If it grants before that, the undelivered
    // grant is kept for 10 s, so the next waiter is granted after that time at the latest.
    svc.release("k", &held.version).await.unheld(200);
    let grant = behind.answer().await.grant();
    let back = Call::post(&svc, "/locks/k/acquire", &waits_as(&version)).await;
    svc.release("k", &grant.version).await.unheld(200);
    let answer = back.answer().await;
    if answer.status == 200 {
        assert_eq!(answer.grant().version, version);
    } else {
        // The undelivered grant was given back after 10 s.
        answer.problem(409, "version-mismatch");
    }
}

/// Guards invariant 7: after 10 s the place is gone.
async fn a_place_is_not_kept_for_ever(svc: Client) {
    let held = svc.hold("k").await;
    let gone = call(&svc, &waits_as(&random_version()), 1).await;
    gone.hang_up();
    svc.until_waiters("/locks/k", 0).await;
    svc.release("k", &held.version).await.unheld(200);
    svc.lock("k").await.unheld(200);
}
