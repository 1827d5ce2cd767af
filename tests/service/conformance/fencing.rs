//! Fencing tokens: strictly growing with every grant of a key, forever.

use serde_json::{Value, json};

use crate::support::{Client, Grant, SHORT_MS, SOON};

on_every_database![with_client:
    tokens_grow_through_every_way_a_grant_can_end,
    tokens_grow_through_deletion_and_creation,
    tokens_of_permits_grow,
    tokens_grow_when_a_key_changes_its_kind,
    a_deleted_key_shows_its_last_token_again,
];

/// A grant of the key that must have a greater token than the one before.
async fn grow(svc: &Client, key: &str, body: Value, last: &mut i64) -> Grant {
    let grant = svc.acquire(key, body).await.grant();
    assert!(grant.token > *last, "{} after {last}", grant.token);
    *last = grant.token;
    grant
}

/// Guards invariant 2.
async fn tokens_grow_through_every_way_a_grant_can_end(svc: Client) {
    let mut last = 0;
    for _ in 0..3 {
        let released = grow(&svc, "k", json!({}), &mut last).await;
        svc.release("k", &released.version).await.unheld(200);
        grow(&svc, "k", json!({"lease_duration_ms": SHORT_MS}), &mut last).await;
        svc.until_free("k", SOON).await;
    }
}

/// Guards invariant 2: tokens do not start again after deletion and creation.
async fn tokens_grow_through_deletion_and_creation(svc: Client) {
    let mut last = 0;
    for _ in 0..3 {
        let grant = grow(&svc, "k", json!({"delete_on_release": true}), &mut last).await;
        svc.release("k", &grant.version).await.unheld(200);
        let grant = grow(&svc, "k", json!({}), &mut last).await;
        svc.post("/locks/k/release", json!({"version": grant.version, "delete_lock": true}))
            .await
            .unheld(200);
        let grant = grow(&svc, "k", json!({}), &mut last).await;
        svc.delete(&format!("/locks/k?version={}", grant.version)).await.expect(204);
        let grant = grow(&svc, "k", json!({}), &mut last).await;
        svc.release("k", &grant.version).await.unheld(200);
        svc.delete("/locks/k").await.expect(204);
        svc.put("/locks/k", json!({})).await.expect(201);
    }
}

/// Guards invariant 2 for semaphores.
async fn tokens_of_permits_grow(svc: Client) {
    let mut last = 0;
    for _ in 0..3 {
        svc.put("/semaphores/s", json!({"max_size": 3})).await.expect(201);
        for _ in 0..3 {
            let grant = grow(&svc, "s", json!({"uses_semaphore": true}), &mut last).await;
            grow(&svc, "s", json!({"uses_semaphore": true, "lease_duration_ms": 10_000}), &mut last).await;
            svc.release("s", &grant.version).await.unheld(200);
            let permits = svc.get("/semaphores/s/permits").await;
            for permit in permits.body["items"].as_array().unwrap() {
                svc.release("s", permit["version"].as_str().unwrap()).await.unheld(200);
            }
        }
        svc.delete("/semaphores/s").await.expect(204);
    }
}

/// Guards invariant 2: the token belongs to the key, whatever its kind.
async fn tokens_grow_when_a_key_changes_its_kind(svc: Client) {
    let mut last = 0;
    for _ in 0..2 {
        let grant = grow(&svc, "k", json!({"delete_on_release": true}), &mut last).await;
        svc.release("k", &grant.version).await.unheld(200);
        svc.put("/semaphores/k", json!({"max_size": 1})).await.expect(201);
        let permit = grow(&svc, "k", json!({"uses_semaphore": true}), &mut last).await;
        svc.release("k", &permit.version).await.unheld(200);
        svc.delete("/semaphores/k").await.expect(204);
    }
}

async fn a_deleted_key_shows_its_last_token_again(svc: Client) {
    let grant = svc.hold("k").await;
    svc.delete(&format!("/locks/k?version={}", grant.version)).await.expect(204);
    let created = svc.put("/locks/k", json!({})).await;
    let shown = created.unheld(201)["fencing_token"].as_i64().unwrap();
    assert!(shown == 0 || shown >= grant.token, "the last one granted, or 0 where none is known: {shown}");
}
