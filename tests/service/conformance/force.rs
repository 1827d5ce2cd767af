//! Forced releases: an operator ends a grant, and its former holder is notified.

use serde_json::{Value, json};

use crate::support::{Answer, Client, random_version, time::epoch_ms};

on_every_database![with_client:
    a_forced_release_hands_over_and_tells_the_former_holder,
    a_forced_release_may_name_the_grant_and_leave_the_reason_out,
    force_on_a_free_lock_changes_nothing,
    a_permit_is_ended_by_force_by_its_version_only,
    a_revocation_is_answered_after_the_lock_was_deleted,
    the_last_eight_forced_releases_are_remembered_with_their_reasons,
    a_revoked_version_is_never_granted_again,
    the_fields_of_a_forced_release_are_checked,
];

/// The 409 that the former holder is answered.
#[track_caller]
pub(crate) fn revoked(answer: &Answer, reason: &Value) {
    let problem = answer.problem(409, "revoked");
    assert_eq!(problem["reason"], *reason, "{problem}");
    assert_eq!(problem.get("revoked_by"), Some(&Value::Null), "without authentication: {problem}");
    assert!(epoch_ms(&problem["revoked_at"]) > 0, "{problem}");
}

async fn force(svc: &Client, key: &str, body: Value) -> Answer {
    let mut body = body;
    body["force"] = json!(true);
    svc.post(&format!("/locks/{key}/release"), body).await
}

async fn a_forced_release_hands_over_and_tells_the_former_holder(svc: Client) {
    let first = svc.hold("k").await;
    let waiting = svc.queue_up("k", json!({"owner": "next", "wait_ms": 20_000}), 1).await;
    let ended = force(&svc, "k", json!({"reason": "stuck since noon"})).await;
    assert_eq!(ended.unheld(200)["fencing_token"], first.token);
    let next = waiting.await.unwrap().grant();
    assert_eq!(next.body["owner"], "next");
    assert!(next.token > first.token);
    revoked(&svc.heartbeat("k", &first.version).await, &json!("stuck since noon"));
    revoked(&svc.release("k", &first.version).await, &json!("stuck since noon"));
    assert_eq!(svc.lock("k").await.grant().version, next.version);
    svc.release("k", &next.version).await.unheld(200);
    revoked(&svc.release("k", &first.version).await, &json!("stuck since noon"));
}

async fn a_forced_release_may_name_the_grant_and_leave_the_reason_out(svc: Client) {
    let grant = svc.acquire("k", json!({"lease_duration_ms": 60_000, "data": "before"})).await.grant();
    force(&svc, "k", json!({"version": random_version()})).await.problem(409, "version-mismatch");
    assert_eq!(svc.lock("k").await.grant().version, grant.version);
    let ended = force(&svc, "k", json!({"version": grant.version, "data": "after"})).await;
    assert_eq!(ended.unheld(200)["data"], "after");
    revoked(&svc.heartbeat("k", &grant.version).await, &Value::Null);
}

async fn force_on_a_free_lock_changes_nothing(svc: Client) {
    force(&svc, "k", json!({})).await.problem(404, "not-found");
    let put = svc.put("/locks/k", json!({"data": "kept"})).await;
    assert_eq!(force(&svc, "k", json!({"data": "new"})).await.unheld(200), put.unheld(201));
    let grant = svc.hold("k").await;
    let released = svc.release("k", &grant.version).await;
    for body in [json!({"delete_lock": true}), json!({"version": grant.version, "reason": "late"})] {
        assert_eq!(force(&svc, "k", body).await.unheld(200), released.unheld(200));
    }
    force(&svc, "k", json!({"version": random_version()})).await.problem(409, "version-mismatch");
    svc.release("k", &grant.version).await.unheld(200);
    svc.heartbeat("k", &grant.version).await.problem(409, "version-mismatch");
    // A lock whose lease has ended is not held either.
    let short = svc.acquire("k", json!({"lease_duration_ms": 1, "wait_ms": 0})).await;
    svc.until_free("k", crate::support::SOON).await;
    force(&svc, "k", json!({})).await.unheld(200);
    let version = short.body["version"].as_str().unwrap();
    svc.heartbeat("k", version).await.problem(409, "lease-expired");
}

async fn a_permit_is_ended_by_force_by_its_version_only(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 2, "lease_duration_ms": 60_000})).await.expect(201);
    let take = async || svc.post("/semaphores/s/acquire", json!({"wait_ms": 0})).await.grant();
    let (one, two) = (take().await, take().await);
    let path = "/semaphores/s/release";
    svc.post(path, json!({"force": true})).await.names_invalid("version");
    svc.post("/locks/s/release", json!({"force": true})).await.names_invalid("version");
    let delete = json!({"force": true, "version": one.version, "delete_lock": true});
    svc.post("/locks/s/release", delete).await.names_invalid("delete_lock");
    let stranger = json!({"force": true, "version": random_version()});
    svc.post(path, stranger).await.problem(409, "version-mismatch");
    let waiting = svc.post_aside("/semaphores/s/acquire", json!({"wait_ms": 20_000, "owner": "next"}));
    svc.until_waiters("/semaphores/s", 1).await;
    let body = json!({"force": true, "version": one.version, "reason": "gone"});
    svc.post(path, body.clone()).await.unheld(200);
    assert_eq!(waiting.await.unwrap().grant().body["owner"], "next");
    for kind in ["semaphores", "locks"] {
        for call in ["heartbeat", "release"] {
            let answer = svc.post(&format!("/{kind}/s/{call}"), json!({"version": one.version})).await;
            revoked(&answer, &json!("gone"));
        }
    }
    svc.post(path, body).await.problem(409, "version-mismatch");
    svc.post("/semaphores/s/heartbeat", json!({"version": two.version})).await.grant();
}

async fn a_revocation_is_answered_after_the_lock_was_deleted(svc: Client) {
    let grant = svc.acquire("k", json!({"delete_on_release": true})).await.grant();
    force(&svc, "k", json!({"reason": "mine now"})).await.unheld(200);
    svc.lock("k").await.problem(404, "not-found");
    revoked(&svc.heartbeat("k", &grant.version).await, &json!("mine now"));
    let next = svc.hold("k").await;
    revoked(&svc.release("k", &grant.version).await, &json!("mine now"));
    assert_eq!(svc.lock("k").await.grant().version, next.version);
}

async fn the_last_eight_forced_releases_are_remembered_with_their_reasons(svc: Client) {
    let reason = |number: usize| format!("{number}{}", "\u{1f512}".repeat(999));
    let mut versions = Vec::new();
    for number in 0..8 {
        versions.push(svc.hold("k").await.version);
        force(&svc, "k", json!({"reason": reason(number)})).await.unheld(200);
    }
    svc.hold("k").await;
    for (number, version) in versions.iter().enumerate() {
        revoked(&svc.heartbeat("k", version).await, &json!(reason(number)));
    }
}

async fn a_revoked_version_is_never_granted_again(svc: Client) {
    let body = json!({"version": random_version(), "lease_duration_ms": 60_000});
    svc.acquire("k", body.clone()).await.grant();
    force(&svc, "k", json!({})).await.unheld(200);
    svc.acquire("k", body.clone()).await.problem(409, "version-mismatch");
    svc.hold("k").await;
    svc.acquire("k", body).await.problem(409, "version-mismatch");
}

async fn the_fields_of_a_forced_release_are_checked(svc: Client) {
    let grant = svc.hold("k").await;
    let path = "/locks/k/release";
    let with = |field: &str, value: Value| {
        let mut body = json!({"version": grant.version});
        body[field] = value;
        body
    };
    svc.post(path, with("reason", json!("stuck"))).await.names_invalid("reason");
    svc.post(path, with("force", json!("yes"))).await.names_invalid("force");
    for reason in [json!("x".repeat(1_001)), json!("a\u{0}"), json!(7)] {
        force(&svc, "k", json!({"reason": reason})).await.names_invalid("reason");
    }
    svc.post("/locks/k/heartbeat", with("force", json!(true))).await.names_invalid("force");
    assert_eq!(svc.lock("k").await.grant().version, grant.version);
    force(&svc, "k", json!({"reason": "x".repeat(1_000)})).await.unheld(200);
}
