//! Defaults under narrow limits.

use serde_json::json;

use super::on_every_database;
use crate::support::{Database, Service};

on_every_database![with_database:
    defaults_are_cut_to_the_configured_maxima,
];

async fn defaults_are_cut_to_the_configured_maxima(database: Database) {
    let service = Service::start_with(&database.url, &[("DB_LOCKS_MAX_LEASE_MS", "5000")]).await;
    let svc = service.client();
    assert_eq!(svc.acquire("k", json!({})).await.grant().body["lease_duration_ms"], 5_000);
    let put = async |body| svc.put("/semaphores/s", body).await;
    assert_eq!(put(json!({"max_size": 1})).await.expect(201).body["lease_duration_ms"], 5_000);
    let shorter = json!({"max_size": 1, "lease_duration_ms": 3_000});
    assert_eq!(put(shorter).await.expect(200).body["lease_duration_ms"], 3_000);
    let kept = put(json!({"max_size": 2})).await.expect(200);
    assert_eq!(kept.body["lease_duration_ms"], 3_000, "what it has is no default");
    let permit = svc.post("/semaphores/s/acquire", json!({})).await.grant();
    assert_eq!(permit.body["lease_duration_ms"], 3_000);
    let document = svc.get("/api-docs/openapi.json").await.expect(200).body;
    let field = &document["components"]["schemas"]["AcquireLockBody"]["properties"]["lease_duration_ms"];
    assert_eq!(field["maximum"], 5_000);
}
