//! A repeat takes over the place of the request that it repeats.

use serde_json::{Value, json};

use crate::support::{Client, random_version};

on_every_database![with_client:
    a_repeat_takes_over_the_place_in_the_queue,
    the_repeats_other_fields_are_ignored,
    a_waiting_version_is_not_yet_a_grant,
    a_repeat_by_another_owner_takes_over_nothing,
];

fn chosen(version: &str, owner: &str) -> Value {
    json!({"version": version, "owner": owner, "lease_duration_ms": 60_000, "wait_ms": 30_000})
}

/// Guards invariants 5 and 9: the repeat waits in the place of the first request, before later requests.
async fn a_repeat_takes_over_the_place_in_the_queue(svc: Client) {
    let holder = svc.hold("k").await;
    let version = random_version();
    let first = svc.queue_up("k", chosen(&version, "a"), 1).await;
    let behind = svc.queue_up("k", json!({"wait_ms": 30_000}), 2).await;
    let repeat = svc.post_aside("/locks/k/acquire", chosen(&version, "a"));
    first.await.unwrap().problem(409, "superseded");
    svc.until_waiters("/locks/k", 2).await;
    svc.release("k", &holder.version).await.unheld(200);
    assert_eq!(repeat.await.unwrap().grant().version, version);
    assert!(!behind.is_finished());
    svc.release("k", &version).await.unheld(200);
    behind.await.unwrap().grant();
}

async fn the_repeats_other_fields_are_ignored(svc: Client) {
    let holder = svc.hold("k").await;
    let version = random_version();
    let mut asked = chosen(&version, "a");
    asked["data"] = json!("first");
    let first = svc.queue_up("k", asked.clone(), 1).await;
    asked["data"] = json!("second");
    asked["lease_duration_ms"] = json!(5_000);
    let repeat = svc.post_aside("/locks/k/acquire", asked);
    first.await.unwrap().problem(409, "superseded");
    svc.release("k", &holder.version).await.unheld(200);
    let grant = repeat.await.unwrap().grant();
    assert_eq!(grant.body["data"], "first");
    assert_eq!(grant.body["lease_duration_ms"], 60_000);
}

/// Guards invariant 4: the version of a waiter names no grant.
async fn a_waiting_version_is_not_yet_a_grant(svc: Client) {
    let holder = svc.hold("k").await;
    let version = random_version();
    let waiting = svc.queue_up("k", chosen(&version, "a"), 1).await;
    svc.heartbeat("k", &version).await.problem(409, "version-mismatch");
    svc.release("k", &version).await.problem(409, "version-mismatch");
    svc.delete(&format!("/locks/k?version={version}")).await.problem(409, "version-mismatch");
    svc.release("k", &holder.version).await.unheld(200);
    assert_eq!(waiting.await.unwrap().grant().version, version);
}

async fn a_repeat_by_another_owner_takes_over_nothing(svc: Client) {
    let holder = svc.hold("k").await;
    let version = random_version();
    let waiting = svc.queue_up("k", chosen(&version, "a"), 1).await;
    svc.acquire("k", chosen(&version, "b")).await.problem(409, "version-mismatch");
    svc.release("k", &holder.version).await.unheld(200);
    assert_eq!(waiting.await.unwrap().grant().body["owner"], "a");
}
