//! Heartbeats: they renew the lease of a grant from now on.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, SHORT_MS, SOON, random_version, time::epoch_ms};

on_every_database![with_client:
    a_heartbeat_renews_the_lease,
    heartbeats_keep_a_lock_for_longer_than_its_lease,
    a_heartbeat_may_change_the_lease,
    a_heartbeat_keeps_or_changes_the_data,
    a_heartbeat_needs_a_version,
    a_heartbeat_of_another_version_does_nothing,
    a_heartbeat_after_the_release_does_nothing,
    the_fields_of_a_heartbeat_are_checked,
];

async fn a_heartbeat_renews_the_lease(svc: Client) {
    let grant = svc.hold("k").await;
    let renewed = svc.heartbeat("k", &grant.version).await.grant();
    assert_eq!((&renewed.version, renewed.token), (&grant.version, grant.token));
    assert_eq!(renewed.body["acquired_at"], grant.body["acquired_at"]);
    assert!(epoch_ms(&renewed.body["expires_at"]) > epoch_ms(&grant.body["expires_at"]));
    assert_eq!(renewed.body["lease_duration_ms"], 60_000);
}

async fn heartbeats_keep_a_lock_for_longer_than_its_lease(svc: Client) {
    let grant = svc.acquire("k", json!({"lease_duration_ms": 2_000})).await.grant();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(2_600) {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let renewed = svc.heartbeat("k", &grant.version).await.grant();
        assert_eq!(renewed.token, grant.token);
    }
    svc.acquire("k", json!({"wait_ms": 0})).await.not_granted("no_wait");
}

async fn a_heartbeat_may_change_the_lease(svc: Client) {
    let grant = svc.hold("k").await;
    let body = json!({"version": grant.version, "lease_duration_ms": 90_000});
    let longer = svc.post("/locks/k/heartbeat", body).await.grant();
    assert_eq!(longer.body["lease_duration_ms"], 90_000);
    assert!(longer.body["expires_in_ms"].as_i64().unwrap() > 80_000);
    let kept = svc.heartbeat("k", &grant.version).await.grant();
    assert_eq!(kept.body["lease_duration_ms"], 90_000, "the grant's from now on");
    let body = json!({"version": grant.version, "lease_duration_ms": SHORT_MS});
    svc.post("/locks/k/heartbeat", body).await.grant();
    svc.until_free("k", SOON).await;
}

async fn a_heartbeat_keeps_or_changes_the_data(svc: Client) {
    let grant = svc.acquire("k", json!({"data": "first", "lease_duration_ms": 60_000})).await.grant();
    let beat = async |fields: Value| {
        let mut body = json!({"version": grant.version});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        svc.post("/locks/k/heartbeat", body).await.grant().body["data"].clone()
    };
    assert_eq!(beat(json!({})).await, "first");
    assert_eq!(beat(json!({"data": null, "delete_data": false})).await, "first", "null means absent");
    assert_eq!(beat(json!({"data": "second"})).await, "second");
    assert_eq!(beat(json!({"data": "third", "delete_data": false})).await, "third");
    assert_eq!(beat(json!({"delete_data": true})).await, Value::Null);
    assert_eq!(svc.lock("k").await.body["data"], Value::Null);
}

async fn a_heartbeat_needs_a_version(svc: Client) {
    svc.hold("k").await;
    svc.post("/locks/k/heartbeat", json!({})).await.names_invalid("version");
    svc.post("/locks/k/heartbeat", json!({"version": null})).await.names_invalid("version");
    svc.heartbeat("k", "not-a-uuid").await.names_invalid("version");
    svc.post("/locks/unknown/heartbeat", json!({})).await.names_invalid("version");
}

/// Guards invariant 4: a heartbeat acts on the grant that its version names, or on nothing.
async fn a_heartbeat_of_another_version_does_nothing(svc: Client) {
    let grant = svc.hold("k").await;
    let body = json!({"version": random_version(), "lease_duration_ms": 80_000_000, "data": "stranger"});
    svc.post("/locks/k/heartbeat", body).await.problem(409, "version-mismatch");
    let shown = svc.lock("k").await.grant();
    assert_eq!(shown.body["expires_at"], grant.body["expires_at"]);
    assert_eq!(shown.body["data"], Value::Null);
    svc.put("/locks/never-granted", json!({})).await.expect(201);
    svc.heartbeat("never-granted", &random_version()).await.problem(409, "version-mismatch");
}

/// Guards invariant 4.
async fn a_heartbeat_after_the_release_does_nothing(svc: Client) {
    let grant = svc.hold("k").await;
    svc.release("k", &grant.version).await.unheld(200);
    svc.heartbeat("k", &grant.version).await.problem(409, "version-mismatch");
    svc.lock("k").await.unheld(200);
}

async fn the_fields_of_a_heartbeat_are_checked(svc: Client) {
    let grant = svc.hold("k").await;
    for (field, fields) in [
        ("delete_data", json!({"data": "x", "delete_data": true})),
        ("delete_data", json!({"delete_data": "yes"})),
        ("lease_duration_ms", json!({"lease_duration_ms": 0})),
        ("lease_duration_ms", json!({"lease_duration_ms": 86_400_001})),
        ("data", json!({"data": 7})),
        ("data", json!({"data": "nul \u{0}"})),
        ("owner", json!({"owner": "me"})),
        ("delete_lock", json!({"delete_lock": false})),
    ] {
        let mut body = json!({"version": grant.version});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = svc.post("/locks/k/heartbeat", body).await;
        let both = fields.get("data").is_some() && fields.get("delete_data").is_some();
        // The contract does not say which of two fields that exclude each other is named.
        if both {
            answer.problem(400, "invalid-request");
        } else {
            answer.names_invalid(field);
        }
    }
}
