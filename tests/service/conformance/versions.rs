//! Versions that the caller chose: the safe retry after a lost answer.

use serde_json::{Value, json};

use crate::support::{Client, SHORT_MS, SOON, random_version};

on_every_database![with_client:
    a_chosen_version_is_the_grants,
    a_version_is_answered_in_its_usual_form,
    a_version_is_a_uuid,
    a_repeat_is_answered_the_same_grant,
    a_repeat_by_another_owner_is_refused,
    repeats_at_once_get_one_grant,
    a_repeat_after_the_release_is_refused,
    a_repeat_after_the_lease_ended_is_refused,
    a_repeat_after_a_deletion_is_refused,
    the_last_eight_ended_versions_are_remembered,
    a_chosen_version_of_a_permit_works_like_that_of_a_lock,
    a_permits_version_outlives_the_deletion_of_a_large_semaphore,
];

fn chosen(version: &str) -> Value {
    json!({"version": version, "owner": "me", "lease_duration_ms": 60_000, "wait_ms": 0})
}

async fn a_chosen_version_is_the_grants(svc: Client) {
    let version = random_version();
    assert_eq!(svc.acquire("k", chosen(&version)).await.grant().version, version);
    assert_eq!(svc.heartbeat("k", &version).await.grant().version, version);
    svc.release("k", &version).await.unheld(200);
}

async fn a_version_is_answered_in_its_usual_form(svc: Client) {
    let version = random_version();
    let upper = version.to_uppercase();
    let first = svc.acquire("k", chosen(&upper)).await.grant();
    assert_eq!(first.version, version);
    assert_eq!(svc.acquire("k", chosen(&version)).await.grant().token, first.token);
    svc.heartbeat("k", &upper).await.grant();
    let bare = random_version().replace('-', "");
    let grant = svc.acquire("l", chosen(&bare)).await.grant();
    assert_eq!(grant.version.replace('-', ""), bare);
    assert_eq!(grant.version.len(), 36);
}

async fn a_version_is_a_uuid(svc: Client) {
    for version in
        [json!(""), json!("17"), json!("0199a3c0-0000-7000-8000-00000000000g"), json!(17), json!({})]
    {
        svc.acquire("k", json!({"version": version})).await.names_invalid("version");
    }
}

/// Guards invariant 9: the same version, the same grant.
async fn a_repeat_is_answered_the_same_grant(svc: Client) {
    let version = random_version();
    let first = svc.acquire("k", chosen(&version)).await.grant();
    let mut repeat = chosen(&version);
    repeat["lease_duration_ms"] = json!(5);
    repeat["data"] = json!("other");
    let second = svc.acquire("k", repeat).await.grant();
    assert_eq!((&second.version, second.token), (&first.version, first.token));
    assert_eq!(second.body["expires_at"], first.body["expires_at"], "a repeat renews nothing");
    assert_eq!(second.body["data"], Value::Null);
    assert_eq!(second.body["lease_duration_ms"], 60_000);
}

async fn a_repeat_by_another_owner_is_refused(svc: Client) {
    let version = random_version();
    svc.acquire("k", chosen(&version)).await.grant();
    for owner in [json!("you"), Value::Null] {
        let mut repeat = chosen(&version);
        repeat["owner"] = owner;
        svc.acquire("k", repeat).await.problem(409, "version-mismatch");
    }
    svc.heartbeat("k", &version).await.grant();
}

/// Guards invariant 9, with all repeats under way together.
async fn repeats_at_once_get_one_grant(svc: Client) {
    let version = random_version();
    let calls = (0..10).map(|_| svc.post_aside("/locks/k/acquire", chosen(&version))).collect::<Vec<_>>();
    let mut tokens = Vec::new();
    for call in calls {
        tokens.push(call.await.unwrap().grant().token);
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 1, "{tokens:?}");
}

/// Guards invariant 9: never a second grant after the first one ended.
async fn a_repeat_after_the_release_is_refused(svc: Client) {
    let version = random_version();
    svc.acquire("k", chosen(&version)).await.grant();
    svc.release("k", &version).await.unheld(200);
    svc.acquire("k", chosen(&version)).await.problem(409, "version-mismatch");
    svc.lock("k").await.unheld(200);
    svc.hold("k").await;
    svc.acquire("k", chosen(&version)).await.problem(409, "version-mismatch");
}

/// Guards invariant 9.
async fn a_repeat_after_the_lease_ended_is_refused(svc: Client) {
    let version = random_version();
    let mut short = chosen(&version);
    short["lease_duration_ms"] = json!(SHORT_MS);
    svc.acquire("k", short).await.grant();
    svc.until_free("k", SOON).await;
    svc.acquire("k", chosen(&version)).await.problem(409, "version-mismatch");
    let next = svc.hold("k").await;
    svc.acquire("k", chosen(&version)).await.problem(409, "version-mismatch");
    assert_eq!(svc.lock("k").await.grant().version, next.version);
}

/// Guards invariant 9: a deletion forgets the lock, not the version.
async fn a_repeat_after_a_deletion_is_refused(svc: Client) {
    let version = random_version();
    svc.acquire("k", chosen(&version)).await.grant();
    svc.delete(&format!("/locks/k?version={version}")).await.expect(204);
    svc.acquire("k", chosen(&version)).await.problem(409, "version-mismatch");
    svc.lock("k").await.problem(404, "not-found");
}

/// Guards invariant 9 for as many grants as the contract promises to remember.
async fn the_last_eight_ended_versions_are_remembered(svc: Client) {
    let versions = (0..8).map(|_| random_version()).collect::<Vec<_>>();
    for version in &versions {
        svc.acquire("k", chosen(version)).await.grant();
        svc.release("k", version).await.unheld(200);
        // Grants with versions of the service do not displace them.
        let between = svc.hold("k").await;
        svc.release("k", &between.version).await.unheld(200);
    }
    for version in &versions {
        svc.acquire("k", chosen(version)).await.problem(409, "version-mismatch");
    }
}

/// Guards invariant 9 for permits.
async fn a_chosen_version_of_a_permit_works_like_that_of_a_lock(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 3})).await.expect(201);
    let version = random_version();
    let acquire = async || svc.post("/semaphores/s/acquire", chosen(&version)).await;
    let first = acquire().await.grant();
    let second = acquire().await.grant();
    assert_eq!((&second.version, second.token), (&first.version, first.token));
    assert_eq!(
        svc.get("/semaphores/s").await.body["busy_count"],
        1,
        "one permit, however often it was asked for"
    );
    svc.post("/semaphores/s/release", json!({"version": version})).await.unheld(200);
    acquire().await.problem(409, "version-mismatch");
    assert_eq!(svc.get("/semaphores/s").await.body["busy_count"], 0);
}

/// Guards invariant 9 for a semaphore with more permits than a decision loads: its deletion loads the latest grants.
async fn a_permits_version_outlives_the_deletion_of_a_large_semaphore(svc: Client) {
    let size = 400;
    svc.put("/semaphores/s", json!({"max_size": size})).await.expect(201);
    let calls: Vec<_> =
        (0..size).map(|_| svc.post_aside("/semaphores/s/acquire", chosen(&random_version()))).collect();
    let mut grants = Vec::new();
    for call in calls {
        grants.push(call.await.unwrap().grant());
    }
    grants.sort_by_key(|grant| grant.token);
    for grant in &grants {
        svc.post("/semaphores/s/release", json!({"version": grant.version})).await.unheld(200);
    }
    svc.delete("/semaphores/s").await.expect(204);
    svc.put("/semaphores/s", json!({"max_size": size})).await.expect(201);
    for grant in &grants[size - 60..] {
        svc.post("/semaphores/s/acquire", chosen(&grant.version)).await.problem(409, "version-mismatch");
    }
}
