use db_locks_service::domain::{Kind, NotGrantedReason, Owner, Refusal, Timestamp};
use serde_json::{Value, json};

use super::*;

async fn answered(problem: Problem) -> (Response<()>, Value) {
    let (parts, body) = problem.into_response().into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    (Response::from_parts(parts, ()), serde_json::from_slice(&bytes).unwrap())
}

fn holder(expires_in_ms: i64) -> Holder {
    Holder { owner: Owner::new("ci-42").unwrap(), expires_at: Timestamp(0), expires_in_ms }
}

#[tokio::test]
async fn not_granted_tells_who_holds_it_and_when_to_come_back() {
    let refusal = Refusal::NotGranted(NotGranted {
        reason: NotGrantedReason::TimedOut,
        holders: vec![holder(2_001), holder(60_000)],
        waiters: 3,
        queue_position: Some(2),
        session: None,
    });
    let (response, body) = answered(Problem::refused(refusal, Kind::Mutex)).await;
    assert_eq!(response.status(), 423);
    assert_eq!(response.headers()["retry-after"], "3");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(body["type"], "/problems/not-granted");
    assert_eq!(body["reason"], "timed_out");
    assert_eq!(body["waiters"], 3);
    assert_eq!(body["queue_position"], 2);
    assert_eq!(
        body["holders"][0],
        json!({"owner": "ci-42", "expires_at": "1970-01-01T00:00:00.000Z", "expires_in_ms": 2_001})
    );
}

#[tokio::test]
async fn a_place_that_never_was_is_not_mentioned() {
    let not_granted = NotGranted {
        reason: NotGrantedReason::NoWait,
        holders: vec![],
        waiters: 0,
        queue_position: None,
        session: None,
    };
    let (response, body) = answered(Problem::refused(Refusal::NotGranted(not_granted), Kind::Mutex)).await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(body["reason"], "no_wait");
    assert!(body.get("queue_position").is_none());
}

#[tokio::test]
async fn an_invalid_request_names_fields_and_reasons() {
    let (response, body) = answered(Problem::invalid_field("wait_ms", "must be at least 0")).await;
    assert_eq!(response.status(), 400);
    assert_eq!(body["detail"], "wait_ms must be at least 0");
    assert_eq!(body["errors"], json!([{"field": "wait_ms", "reason": "must be at least 0"}]));
}

#[tokio::test]
async fn unavailable_says_what_is_in_the_way_and_when_to_try_again() {
    for (reason, detail, seconds) in [
        (Unavailable::DatabaseOutOfReach, "database is out of reach", "1"),
        (Unavailable::DatabaseReadOnly, "database is read-only", "1"),
        (Unavailable::SeveralWritable, "Two writable servers", "1"),
        (Unavailable::DiskFull, "Disk full", "10"),
        (Unavailable::Overloaded, "overloaded", "1"),
        (Unavailable::TenantWaiters, "tenant's waiters", "2"),
        (Unavailable::KeyWaiters, "key's waiters", "2"),
        (Unavailable::TenantStorage, "tenant's storage", "10"),
        (Unavailable::ShuttingDown, "shutting down", "1"),
    ] {
        let (response, body) = answered(reason.into()).await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], seconds, "{reason:?}");
        assert!(body["detail"].as_str().unwrap().contains(detail), "{body}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_next_step() {
    for (refusal, asked, step) in [
        (Refusal::NotFound, Kind::Semaphore, "PUT /semaphores/{key}"),
        (Refusal::NotFound, Kind::Mutex, "first acquire"),
        (Refusal::WrongKind, Kind::Mutex, "is a semaphore"),
        (Refusal::WrongKind, Kind::Semaphore, "is a lock"),
    ] {
        let (_, body) = answered(Problem::refused(refusal, asked)).await;
        assert!(body["detail"].as_str().unwrap().contains(step), "{body}");
    }
}

#[test]
fn seconds_are_rounded_up_and_at_least_one() {
    assert_eq!([-5, 0, 1, 1_000, 1_001, 59_999].map(whole_seconds), [1, 1, 1, 1, 2, 60]);
}
