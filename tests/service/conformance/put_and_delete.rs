//! Creating and deleting locks without holding them.

use serde_json::{Value, json};

use crate::support::{Client, random_version};

on_every_database![with_client:
    a_put_creates_an_unlocked_lock,
    a_put_needs_no_body,
    a_held_lock_is_not_put,
    a_free_lock_is_deleted,
    a_held_lock_is_deleted_by_its_holder_only,
    the_version_of_a_delete_is_ignored_when_the_lock_is_free,
    the_query_of_a_delete_is_checked,
];

async fn a_put_creates_an_unlocked_lock(svc: Client) {
    let created = svc.put("/locks/k", json!({"data": "text"})).await;
    let body = created.unheld(201);
    assert_eq!(body["key"], "k");
    assert_eq!(body["tenant"], svc.tenant());
    assert_eq!(body["data"], "text");
    assert_eq!(body["fencing_token"], 0, "none was granted yet");
    assert_eq!(svc.lock("k").await.unheld(200), body);
    let again = svc.put("/locks/k", json!({"data": "more"})).await;
    assert_eq!(again.unheld(200)["created_at"], body["created_at"]);
    svc.hold("k").await;
}

async fn a_put_needs_no_body(svc: Client) {
    let created = svc.send(svc.request(reqwest::Method::PUT, "/locks/k")).await;
    assert_eq!(created.unheld(201)["data"], Value::Null);
    svc.put("/locks/k", json!({"owner": "me"})).await.names_invalid("owner");
}

async fn a_held_lock_is_not_put(svc: Client) {
    let held =
        svc.acquire("k", json!({"owner": "me", "data": "mine", "lease_duration_ms": 60_000})).await.grant();
    let refused = svc.put("/locks/k", json!({"data": "other"})).await;
    let holders = refused.problem(409, "in-use")["holders"].as_array().unwrap();
    assert_eq!((holders.len(), &holders[0]["owner"]), (1, &json!("me")));
    assert_eq!(svc.lock("k").await.body["data"], "mine");
    svc.heartbeat("k", &held.version).await.grant();
}

async fn a_free_lock_is_deleted(svc: Client) {
    svc.put("/locks/k", json!({})).await.expect(201);
    let deleted = svc.delete("/locks/k").await.expect(204);
    assert_eq!(deleted.text, "");
    svc.delete("/locks/k").await.problem(404, "not-found");
    svc.lock("k").await.problem(404, "not-found");
    svc.put("/locks/k", json!({})).await.expect(201);
}

/// Guards invariant 4: deleting a held lock needs the version of its grant.
async fn a_held_lock_is_deleted_by_its_holder_only(svc: Client) {
    let grant = svc.acquire("k", json!({"owner": "me", "lease_duration_ms": 60_000})).await.grant();
    let refused = svc.delete("/locks/k").await;
    assert_eq!(refused.problem(409, "in-use")["holders"][0]["owner"], "me");
    svc.delete(&format!("/locks/k?version={}", random_version())).await.problem(409, "version-mismatch");
    assert_eq!(svc.lock("k").await.grant().version, grant.version);
    svc.delete(&format!("/locks/k?version={}", grant.version)).await.expect(204);
    svc.lock("k").await.problem(404, "not-found");
    svc.heartbeat("k", &grant.version).await.problem(404, "not-found");
    svc.release("k", &grant.version).await.problem(404, "not-found");
}

async fn the_version_of_a_delete_is_ignored_when_the_lock_is_free(svc: Client) {
    svc.put("/locks/k", json!({})).await.expect(201);
    svc.delete(&format!("/locks/k?version={}", random_version())).await.expect(204);
}

async fn the_query_of_a_delete_is_checked(svc: Client) {
    svc.hold("k").await;
    svc.delete("/locks/k?version=17").await.names_invalid("version");
    svc.delete("/locks/k?force=true").await.names_invalid("force");
    svc.lock("k").await.grant();
}
