//! Tenants never see each other's keys.

use reqwest::Method;
use serde_json::json;

use crate::support::{Client, random_text, wire};

on_every_database![with_client:
    tenants_hold_the_same_key_at_once,
    a_tenant_sees_only_its_own,
    a_version_is_worth_nothing_elsewhere,
    without_the_header_the_tenant_is_the_default,
    a_tenants_name_is_checked,
];

/// Guards invariant 4 between tenants.
async fn tenants_hold_the_same_key_at_once(svc: Client) {
    for tenant in ["A", "a", "a.b", "a_b", "a-b"] {
        let tenant = format!("{}-{tenant}", svc.tenant());
        let grant = svc.with_tenant(&tenant).acquire("k", json!({"wait_ms": 0})).await.grant();
        assert_eq!(grant.body["tenant"], tenant);
    }
}

async fn a_tenant_sees_only_its_own(svc: Client) {
    let other = svc.with_tenant(&format!("{}.other", svc.tenant()));
    svc.hold("mine").await;
    svc.put("/semaphores/s", json!({"max_size": 1})).await.expect(201);
    other.lock("mine").await.problem(404, "not-found");
    other.get("/semaphores/s").await.problem(404, "not-found");
    for list in ["/locks", "/semaphores"] {
        assert_eq!(other.get(list).await.expect(200).body["items"], json!([]));
    }
    other.put("/locks/s", json!({})).await.expect(201);
    other.delete("/locks/s").await.expect(204);
    svc.get("/semaphores/s").await.expect(200);
}

/// Guards invariant 4 between tenants.
async fn a_version_is_worth_nothing_elsewhere(svc: Client) {
    let other = svc.with_tenant(&format!("{}.other", svc.tenant()));
    let grant = svc.hold("k").await;
    other.hold("k").await;
    other.release("k", &grant.version).await.problem(409, "version-mismatch");
    other.heartbeat("k", &grant.version).await.problem(409, "version-mismatch");
    svc.heartbeat("k", &grant.version).await.grant();
}

async fn without_the_header_the_tenant_is_the_default(svc: Client) {
    let key = random_text();
    let request = wire::request("PUT", &format!("/locks/{key}"), &[], b"");
    let created = wire::exchange(svc.port(), &request).await.unwrap();
    assert_eq!(created.unheld(201)["tenant"], "default");
    svc.with_tenant("default").lock(&key).await.unheld(200);
    svc.lock(&key).await.problem(404, "not-found");
}

async fn a_tenants_name_is_checked(svc: Client) {
    let longest = "x".repeat(64);
    svc.with_tenant(&longest).lock("k").await.problem(404, "not-found");
    for bad in ["", "a b", "a/b", "a,b", "é", &"x".repeat(65)] {
        let bytes = reqwest::header::HeaderValue::from_bytes(bad.as_bytes()).unwrap();
        let mut request = svc.request(Method::GET, "/locks/k").build().unwrap();
        request.headers_mut().insert("x-tenant", bytes);
        let answer =
            crate::support::Answer::read(reqwest::Client::new().execute(request).await.unwrap()).await;
        answer.names_invalid("X-Tenant");
    }
}
