//! The configured limits.

use std::{cell::Cell, time::Duration};

use serde_json::json;

use crate::support::{Database, Service, eventually};

on_every_database![with_database:
    maxima_are_configured_and_documented,
    waiters_of_a_key_are_limited,
    waiters_of_a_tenant_are_limited,
    waiters_of_a_replica_are_limited,
    the_storage_of_a_tenant_is_limited,
    the_data_of_requests_that_wait_is_limited,
];

async fn maxima_are_configured_and_documented(database: Database) {
    let settings = [("DB_LOCKS_MAX_LEASE_MS", "1000"), ("DB_LOCKS_MAX_WAIT_MS", "2000")];
    let service = Service::start_with(&database.url, &settings).await;
    let svc = service.client();
    svc.acquire("k", json!({"lease_duration_ms": 1001})).await.names_invalid("lease_duration_ms");
    svc.acquire("k", json!({"wait_ms": 2001, "lease_duration_ms": 1000})).await.names_invalid("wait_ms");
    svc.acquire("k", json!({"wait_ms": 2000, "lease_duration_ms": 1000})).await.grant();
    let document = svc.get("/api-docs/openapi.json").await.expect(200).text;
    assert!(
        document.contains("\"maximum\":1000,") || document.contains("\"maximum\":1000}"),
        "the document says so"
    );
}

async fn waiters_of_a_key_are_limited(database: Database) {
    let service = Service::start_with(&database.url, &[("DB_LOCKS_MAX_WAITERS_PER_KEY", "2")]).await;
    let svc = service.client();
    let held = svc.hold("k").await;
    let wait = json!({"wait_ms": 30_000, "lease_duration_ms": 60_000});
    let first = svc.queue_up("k", wait.clone(), 1).await;
    let _second = svc.queue_up("k", wait.clone(), 2).await;
    svc.acquire("k", wait.clone()).await.unavailable_because("key's waiters");
    svc.hold("other").await;
    let _elsewhere = svc.queue_up("other", wait.clone(), 1).await;
    svc.release("k", &held.version).await.unheld(200);
    first.await.unwrap().grant();
    let _third = svc.queue_up("k", wait, 2).await;
}

async fn waiters_of_a_tenant_are_limited(database: Database) {
    let service = Service::start_with(&database.url, &[("DB_LOCKS_MAX_WAITERS_PER_TENANT", "2")]).await;
    let svc = service.client();
    let wait = json!({"wait_ms": 30_000, "lease_duration_ms": 60_000});
    let a = svc.hold("a").await;
    svc.hold("b").await;
    let first = svc.queue_up("a", wait.clone(), 1).await;
    let _second = svc.queue_up("b", wait.clone(), 1).await;
    svc.acquire("b", wait.clone()).await.unavailable_because("tenant's waiters");
    let neighbour = svc.with_tenant("neighbour");
    neighbour.hold("a").await;
    let _not_counted = neighbour.queue_up("a", wait.clone(), 1).await;
    svc.release("a", &a.version).await.unheld(200);
    first.await.unwrap().grant();
    let _third = svc.queue_up("b", wait, 2).await;
}

async fn waiters_of_a_replica_are_limited(database: Database) {
    let service = Service::start_with(&database.url, &[("DB_LOCKS_MAX_WAITERS", "2")]).await;
    let svc = service.client();
    let wait = json!({"wait_ms": 30_000, "lease_duration_ms": 60_000});
    let a = svc.hold("a").await;
    svc.hold("b").await;
    let first = svc.queue_up("a", wait.clone(), 1).await;
    let _second = svc.queue_up("b", wait.clone(), 1).await;
    let refused = svc.acquire("b", wait.clone()).await;
    refused.unavailable();
    assert!(refused.text.contains("overloaded"), "{}", refused.text);
    svc.acquire("b", json!({"wait_ms": 0})).await.not_granted("no_wait");
    svc.release("a", &a.version).await.unheld(200);
    first.await.unwrap().grant();
    let _third = svc.queue_up("b", wait, 2).await;
}

async fn the_storage_of_a_tenant_is_limited(database: Database) {
    let service = Service::start_with(&database.url, &[("DB_LOCKS_MAX_BYTES_PER_TENANT", "16384")]).await;
    let svc = service.client();
    let large = |bytes: usize| json!({"data": "x".repeat(bytes)});
    svc.put("/locks/large", large(12_000)).await.expect(201);
    let held = svc.hold("held").await;
    let full = |number: usize| {
        let svc = svc.clone();
        async move { svc.put(&format!("/locks/{number}"), json!({})).await.status == 503 }
    };
    let mut created = 0;
    while !full(created).await {
        created += 1;
        assert!(created < 32, "nothing is refused");
    }
    svc.acquire("new", json!({"wait_ms": 0})).await.unavailable_because("tenant's storage");
    svc.put("/locks/large", large(12_001)).await.unavailable_because("tenant's storage");
    let progress = json!({"version": held.version, "data": "step 2"});
    svc.post("/locks/held/heartbeat", progress).await.grant();
    svc.release("held", &held.version).await.unheld(200);
    svc.hold("0").await;
    svc.with_tenant("neighbour").hold("new").await;
    // The service notices deletions when it counts the rows of the tenant again.
    svc.put("/locks/large", json!({})).await.expect(200);
    eventually("something can be created again", Duration::from_secs(20), || async {
        (svc.put("/locks/new", json!({})).await.status == 201).then_some(())
    })
    .await;
}

/// A place that is kept for a client that hung up counts, too.
async fn the_data_of_requests_that_wait_is_limited(database: Database) {
    let service = Service::start_with(&database.url, &[("DB_LOCKS_MAX_BYTES_PER_TENANT", "65536")]).await;
    let svc = service.client();
    svc.hold("k").await;
    let (mut places, created) = (0, Cell::new(0));
    let is_full = async || {
        created.set(created.get() + 1);
        svc.put(&format!("/locks/{}", created.get()), json!({})).await.status == 503
    };
    while !is_full().await {
        places += 1;
        assert!(places <= 4, "nothing is refused");
        let version = format!("0199a3c0-5f0e-4c1d-9a57-{places:012}");
        let body = json!({"wait_ms": 60_000, "version": version, "data": "x".repeat(16_384)});
        svc.queue_up("k", body, places).await.abort();
    }
    let large = json!({"wait_ms": 60_000, "data": "x".repeat(16_384)});
    svc.acquire("k", large).await.unavailable_because("tenant's storage");
    let _small = svc.queue_up("k", json!({"wait_ms": 60_000}), places + 1).await;
    eventually("what left the queue does not count", Duration::from_mins(1), async || {
        (!is_full().await).then_some(())
    })
    .await;
}
