//! Reentrant acquires: the same owner is answered the active grant.

use serde_json::json;

use crate::support::{Client, SHORT_MS, SOON};

on_every_database![with_client:
    the_same_owner_is_answered_its_active_grant,
    there_is_no_hold_count,
    another_owner_is_not_let_in,
    only_a_request_with_the_flag_is_reentrant,
    an_ended_lease_is_not_entered_again,
    it_needs_an_owner,
];

fn reentrant(owner: &str) -> serde_json::Value {
    json!({"owner": owner, "reentrant": true, "wait_ms": 0, "lease_duration_ms": 60_000})
}

async fn the_same_owner_is_answered_its_active_grant(svc: Client) {
    let first = svc.acquire("k", reentrant("me")).await.grant();
    let mut other = reentrant("me");
    other["lease_duration_ms"] = json!(80_000_000);
    other["data"] = json!("other");
    other["replace_data"] = json!(true);
    other["delete_on_release"] = json!(true);
    let second = svc.acquire("k", other).await.grant();
    assert_eq!((&second.version, second.token), (&first.version, first.token));
    for member in
        ["expires_at", "lease_duration_ms", "data", "delete_on_release", "acquired_at", "updated_at"]
    {
        assert_eq!(second.body[member], first.body[member], "{member} is unchanged");
    }
}

async fn there_is_no_hold_count(svc: Client) {
    let first = svc.acquire("k", reentrant("me")).await.grant();
    svc.acquire("k", reentrant("me")).await.grant();
    svc.release("k", &first.version).await.unheld(200);
    svc.lock("k").await.unheld(200);
    assert!(svc.acquire("k", reentrant("me")).await.grant().token > first.token);
}

/// Guards invariant 1.
async fn another_owner_is_not_let_in(svc: Client) {
    svc.acquire("k", reentrant("me")).await.grant();
    svc.acquire("k", reentrant("you")).await.not_granted("no_wait");
    svc.acquire("k", reentrant("ME")).await.not_granted("no_wait");
    svc.acquire("k", reentrant("me ")).await.not_granted("no_wait");
}

async fn only_a_request_with_the_flag_is_reentrant(svc: Client) {
    svc.acquire("k", reentrant("me")).await.grant();
    svc.acquire("k", json!({"owner": "me", "wait_ms": 0})).await.not_granted("no_wait");
    svc.acquire("l", json!({"owner": "me"})).await.grant();
    svc.acquire("l", reentrant("me")).await.grant();
}

async fn an_ended_lease_is_not_entered_again(svc: Client) {
    let short = json!({"owner": "me", "reentrant": true, "lease_duration_ms": SHORT_MS});
    let first = svc.acquire("k", short).await.grant();
    svc.until_free("k", SOON).await;
    let second = svc.acquire("k", reentrant("me")).await.grant();
    assert_ne!(second.version, first.version);
    assert!(second.token > first.token);
}

async fn it_needs_an_owner(svc: Client) {
    svc.acquire("k", json!({"reentrant": true})).await.problem(400, "invalid-request");
    svc.acquire("k", json!({"reentrant": true, "owner": null})).await.problem(400, "invalid-request");
    svc.acquire("k", json!({"reentrant": true, "owner": "anonymous"})).await.grant();
}
