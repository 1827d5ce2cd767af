//! Releases: each ends one grant, and no other.

use serde_json::{Value, json};

use crate::support::{Client, random_version};

on_every_database![with_client:
    a_release_leaves_the_lock_unlocked,
    a_release_may_leave_data,
    a_release_may_delete_the_lock,
    a_second_release_changes_nothing,
    a_release_of_another_version_does_nothing,
    a_release_of_a_grant_before_the_last_does_nothing,
    a_lock_that_deletes_itself_is_gone_after_its_release,
    the_fields_of_a_release_are_checked,
];

/// Guards invariant 3 in its simplest form: answered changes are visible.
async fn a_release_leaves_the_lock_unlocked(svc: Client) {
    let grant = svc.acquire("k", json!({"data": "text"})).await.grant();
    let released = svc.release("k", &grant.version).await;
    let body = released.unheld(200);
    assert_eq!(body["fencing_token"], grant.token);
    assert_eq!(body["data"], "text", "the data is the lock's, and stays");
    assert_eq!(body["key"], "k");
    assert_eq!(svc.lock("k").await.unheld(200)["updated_at"], body["updated_at"]);
}

async fn a_release_may_leave_data(svc: Client) {
    let grant = svc.acquire("k", json!({"data": "before"})).await.grant();
    let released = svc.post("/locks/k/release", json!({"version": grant.version, "data": "after"})).await;
    assert_eq!(released.unheld(200)["data"], "after");
    assert_eq!(svc.lock("k").await.body["data"], "after");
    let next = svc.acquire("k", json!({})).await.grant();
    assert_eq!(next.body["data"], "after");
    let released = svc.post("/locks/k/release", json!({"version": next.version, "data": null})).await;
    assert_eq!(released.unheld(200)["data"], "after", "null means absent");
}

async fn a_release_may_delete_the_lock(svc: Client) {
    let grant = svc.hold("k").await;
    let body = json!({"version": grant.version, "delete_lock": true});
    svc.post("/locks/k/release", body.clone()).await.unheld(200);
    svc.lock("k").await.problem(404, "not-found");
    svc.post("/locks/k/release", body).await.problem(404, "not-found");
}

/// Guards invariant 9: a release whose answer was lost can be sent again.
async fn a_second_release_changes_nothing(svc: Client) {
    let grant = svc.hold("k").await;
    let first = svc.release("k", &grant.version).await;
    let again = json!({"version": grant.version, "data": "again", "delete_lock": true});
    let second = svc.post("/locks/k/release", again).await;
    assert_eq!(second.unheld(200), first.unheld(200));
    assert_eq!(svc.lock("k").await.unheld(200), first.unheld(200));
}

/// Guards invariant 4: a release acts on the grant that its version names, or on nothing.
async fn a_release_of_another_version_does_nothing(svc: Client) {
    let grant = svc.hold("k").await;
    let body = json!({"version": random_version(), "data": "stranger", "delete_lock": true});
    svc.post("/locks/k/release", body).await.problem(409, "version-mismatch");
    let shown = svc.lock("k").await.grant();
    assert_eq!(shown.version, grant.version);
    assert_eq!(shown.body["data"], Value::Null);
}

/// Guards invariant 4.
async fn a_release_of_a_grant_before_the_last_does_nothing(svc: Client) {
    let first = svc.hold("k").await;
    svc.release("k", &first.version).await.unheld(200);
    let second = svc.hold("k").await;
    svc.release("k", &first.version).await.problem(409, "version-mismatch");
    assert_eq!(svc.lock("k").await.grant().version, second.version);
}

async fn a_lock_that_deletes_itself_is_gone_after_its_release(svc: Client) {
    let grant =
        svc.acquire("k", json!({"delete_on_release": true, "lease_duration_ms": 60_000})).await.grant();
    assert_eq!(svc.heartbeat("k", &grant.version).await.grant().body["delete_on_release"], true);
    svc.release("k", &grant.version).await.unheld(200);
    svc.lock("k").await.problem(404, "not-found");
    svc.release("k", &grant.version).await.problem(404, "not-found");
    let next = svc.hold("k").await;
    assert_eq!(next.body["delete_on_release"], false, "it belonged to the grant before");
    assert!(next.token > grant.token);
    svc.release("k", &next.version).await.unheld(200);
    svc.lock("k").await.unheld(200);
}

async fn the_fields_of_a_release_are_checked(svc: Client) {
    let grant = svc.hold("k").await;
    svc.post("/locks/k/release", json!({})).await.names_invalid("version");
    svc.release("k", "17").await.names_invalid("version");
    for (field, value) in [
        ("delete_lock", json!(1)),
        ("data", json!(["x"])),
        ("delete_data", json!(true)),
        ("lease_duration_ms", json!(5)),
    ] {
        let mut body = json!({"version": grant.version});
        body[field] = value;
        svc.post("/locks/k/release", body).await.names_invalid(field);
    }
    assert_eq!(svc.lock("k").await.grant().version, grant.version);
}
