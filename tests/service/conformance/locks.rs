//! The life of a lock: granted, held, released, granted again.

use serde_json::{Value, json};

use crate::support::{Client, answer::CLOCK_SLACK_MS, time::epoch_ms};

on_every_database![with_client:
    a_free_lock_is_granted_with_everything_a_grant_shows,
    a_grant_says_what_was_asked_for,
    a_held_lock_is_not_granted_again,
    many_callers_at_once_get_one_grant,
    a_released_lock_is_granted_again,
    a_held_lock_is_shown,
    an_unheld_lock_is_shown,
    an_unknown_lock_is_not_found,
];

async fn a_free_lock_is_granted_with_everything_a_grant_shows(svc: Client) {
    let grant = svc.acquire("deploy", json!({})).await.grant();
    let members = [
        "key",
        "tenant",
        "semaphore_key",
        "locked",
        "version",
        "fencing_token",
        "owner",
        "data",
        "lease_duration_ms",
        "acquired_at",
        "expires_at",
        "expires_in_ms",
        "delete_on_release",
        "guarded",
        "waiters",
        "created_at",
        "updated_at",
    ];
    let mut shown = grant.body.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>();
    shown.sort_unstable();
    let mut expected = members.to_vec();
    expected.sort_unstable();
    assert_eq!(shown, expected);

    assert_eq!(grant.body["key"], "deploy");
    assert_eq!(grant.body["tenant"], svc.tenant());
    assert_eq!(grant.body["semaphore_key"], Value::Null);
    assert_eq!(grant.body["owner"], "anonymous");
    assert_eq!(grant.body["data"], Value::Null);
    assert_eq!(grant.body["lease_duration_ms"], 15_000);
    assert_eq!(grant.body["delete_on_release"], false);
    assert_eq!(grant.body["waiters"], 0);
    let dashes =
        grant.version.char_indices().filter(|(_, c)| *c == '-').map(|(at, _)| at).collect::<Vec<_>>();
    assert_eq!((grant.version.len(), dashes), (36, vec![8, 13, 18, 23]), "a UUID: {}", grant.version);
}

async fn a_grant_says_what_was_asked_for(svc: Client) {
    let asked = json!({"owner": "ci-42", "lease_duration_ms": 30_000, "data": "build 811", "delete_on_release": true});
    let body = svc.acquire("deploy", asked).await.grant().body;
    assert_eq!(body["owner"], "ci-42");
    assert_eq!(body["lease_duration_ms"], 30_000);
    assert_eq!(body["data"], "build 811");
    assert_eq!(body["delete_on_release"], true);
    assert!(body["expires_in_ms"].as_i64().unwrap() > 25_000, "{body}");
    assert_eq!(epoch_ms(&body["expires_at"]) - epoch_ms(&body["acquired_at"]), 30_000, "{body}");
    for time in ["created_at", "updated_at"] {
        assert!((epoch_ms(&body[time]) - epoch_ms(&body["acquired_at"])).abs() < 5_000, "{body}");
    }
}

/// Guards invariant 1: at most one grant whose lease has not ended.
async fn a_held_lock_is_not_granted_again(svc: Client) {
    let held = svc.acquire("k", json!({"owner": "first", "lease_duration_ms": 20_000})).await.grant();
    let refused = svc.acquire("k", json!({"owner": "second", "wait_ms": 0})).await;
    let problem = refused.not_granted("no_wait");
    let holders = problem["holders"].as_array().unwrap();
    assert_eq!(holders.len(), 1);
    assert_eq!(holders[0]["owner"], "first");
    assert_eq!(holders[0]["expires_at"], held.body["expires_at"]);
    let left_ms = holders[0]["expires_in_ms"].as_i64().unwrap();
    assert!((1..=20_000 + CLOCK_SLACK_MS).contains(&left_ms), "{problem}");
    assert_eq!(refused.retry_after(), (left_ms + 999) / 1000, "whole seconds rounded up");
    assert_eq!(problem["waiters"], 0);
    assert_eq!(problem.get("queue_position"), None, "who did not queue had no position");
    assert!(!refused.text.contains(&held.version), "a version is its holder's secret: {problem}");
}

/// Guards invariant 1, with all acquires at the same moment.
async fn many_callers_at_once_get_one_grant(svc: Client) {
    let calls =
        (0..20).map(|_| svc.post_aside("/locks/k/acquire", json!({"wait_ms": 0}))).collect::<Vec<_>>();
    let mut granted = 0;
    for call in calls {
        let answer = call.await.unwrap();
        if answer.status == 200 {
            granted += 1;
        } else {
            answer.not_granted("no_wait");
        }
    }
    assert_eq!(granted, 1);
}

/// Guards invariant 2: the token grows with every grant.
async fn a_released_lock_is_granted_again(svc: Client) {
    let mut last = 0;
    for _ in 0..5 {
        let grant = svc.hold("k").await;
        assert!(grant.token > last);
        last = grant.token;
        svc.release("k", &grant.version).await.unheld(200);
    }
}

async fn a_held_lock_is_shown(svc: Client) {
    let grant =
        svc.acquire("k", json!({"owner": "me", "data": "text", "lease_duration_ms": 60_000})).await.grant();
    let shown = svc.lock("k").await.grant();
    assert_eq!((&shown.version, shown.token), (&grant.version, grant.token));
    for member in
        ["owner", "data", "lease_duration_ms", "acquired_at", "expires_at", "created_at", "updated_at"]
    {
        assert_eq!(shown.body[member], grant.body[member], "{member}");
    }
    assert!(shown.body["expires_in_ms"].as_i64() <= grant.body["expires_in_ms"].as_i64());
}

async fn an_unheld_lock_is_shown(svc: Client) {
    let grant = svc.hold("k").await;
    svc.release("k", &grant.version).await.unheld(200);
    let shown = svc.lock("k").await;
    let body = shown.unheld(200);
    assert_eq!(body["fencing_token"], grant.token, "the last one granted");
    assert_eq!(body["created_at"], grant.body["created_at"]);
    assert_eq!(body["waiters"], 0);
}

async fn an_unknown_lock_is_not_found(svc: Client) {
    svc.lock("nothing").await.problem(404, "not-found");
    let version = crate::support::random_version();
    svc.heartbeat("nothing", &version).await.problem(404, "not-found");
    svc.release("nothing", &version).await.problem(404, "not-found");
    svc.delete("/locks/nothing").await.problem(404, "not-found");
}
