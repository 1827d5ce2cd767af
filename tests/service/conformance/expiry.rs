//! Leases that end without a release.

use serde_json::json;

use crate::support::{Client, Grant, SHORT_MS, SOON};

on_every_database![with_client:
    an_ended_lease_is_shown_as_unlocked,
    an_ended_lease_is_free_for_the_next_taker,
    a_late_heartbeat_is_answered_lease_expired,
    a_version_that_was_followed_by_another_is_not_current,
    a_release_after_the_end_applies_its_fields,
    a_lock_whose_lease_ended_can_be_put_and_deleted,
    a_lease_of_one_millisecond_is_a_lease,
];

/// A grant whose lease has ended.
async fn ended_grant(svc: &Client, key: &str) -> Grant {
    let grant = svc.acquire(key, json!({"lease_duration_ms": SHORT_MS, "data": "first"})).await.grant();
    svc.until_free(key, SOON).await;
    grant
}

async fn an_ended_lease_is_shown_as_unlocked(svc: Client) {
    let grant = ended_grant(&svc, "k").await;
    let shown = svc.lock("k").await;
    let body = shown.unheld(200);
    assert_eq!(body["fencing_token"], grant.token);
    assert_eq!(body["data"], "first");
}

/// Guards invariant 6: a holder that vanished is replaced, without any clean-up.
async fn an_ended_lease_is_free_for_the_next_taker(svc: Client) {
    let first = ended_grant(&svc, "k").await;
    let second = svc.acquire("k", json!({"wait_ms": 0})).await.grant();
    assert!(second.token > first.token);
    assert_ne!(second.version, first.version);
}

/// Guards invariant 4: a heartbeat does not revive an ended grant.
async fn a_late_heartbeat_is_answered_lease_expired(svc: Client) {
    let grant = ended_grant(&svc, "k").await;
    svc.heartbeat("k", &grant.version).await.problem(409, "lease-expired");
    svc.lock("k").await.unheld(200);
}

/// Guards invariant 4: the old version acts on nothing.
async fn a_version_that_was_followed_by_another_is_not_current(svc: Client) {
    let old = ended_grant(&svc, "k").await;
    let new = svc.hold("k").await;
    svc.heartbeat("k", &old.version).await.problem(409, "version-mismatch");
    svc.release("k", &old.version).await.problem(409, "version-mismatch");
    svc.delete(&format!("/locks/k?version={}", old.version)).await.problem(409, "version-mismatch");
    assert_eq!(svc.lock("k").await.grant().version, new.version);
}

async fn a_release_after_the_end_applies_its_fields(svc: Client) {
    let grant = ended_grant(&svc, "k").await;
    let released = svc.post("/locks/k/release", json!({"version": grant.version, "data": "late"})).await;
    assert_eq!(released.unheld(200)["data"], "late");
    assert_eq!(svc.lock("k").await.body["data"], "late");

    let grant = ended_grant(&svc, "gone").await;
    svc.post("/locks/gone/release", json!({"version": grant.version, "delete_lock": true})).await.unheld(200);
    svc.lock("gone").await.problem(404, "not-found");
}

async fn a_lock_whose_lease_ended_can_be_put_and_deleted(svc: Client) {
    ended_grant(&svc, "k").await;
    let put = svc.put("/locks/k", json!({"data": "new"})).await;
    assert_eq!(put.unheld(200)["data"], "new");
    ended_grant(&svc, "k").await;
    svc.delete("/locks/k").await.expect(204);
    svc.lock("k").await.problem(404, "not-found");
}

/// The lease may end before its answer is ready. The answer is then not 200.
async fn a_lease_of_one_millisecond_is_a_lease(svc: Client) {
    let answer = svc.acquire("k", json!({"lease_duration_ms": 1, "wait_ms": 0})).await;
    if answer.status == 200 {
        assert_eq!(answer.grant().body["expires_in_ms"], 1);
    }
    svc.until_free("k", SOON).await;
    assert!(svc.lock("k").await.body["fencing_token"].as_i64().unwrap() >= 1);
}
