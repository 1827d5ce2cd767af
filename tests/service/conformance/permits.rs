//! Permits: several grants of a key at a time.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Grant, SHORT_MS, SOON, eventually, random_version};

on_every_database![with_client:
    a_permit_is_a_grant_with_its_own_fields,
    permits_are_listed_page_by_page,
    an_ended_permit_is_free_for_the_next_taker,
    a_heartbeat_renews_one_permit,
    a_release_ends_one_permit,
    a_permits_version_stays_current_until_its_slot_is_granted_again,
    fields_that_permits_lack_are_refused,
];

async fn take(svc: &Client, mut body: Value) -> Grant {
    body["wait_ms"] = json!(0);
    svc.post("/semaphores/s/acquire", body).await.grant()
}

async fn semaphore(svc: &Client, max_size: u32) {
    svc.put("/semaphores/s", json!({"max_size": max_size, "lease_duration_ms": 45_000})).await.expect(201);
}

async fn a_permit_is_a_grant_with_its_own_fields(svc: Client) {
    semaphore(&svc, 2).await;
    let first = take(&svc, json!({"owner": "a", "data": "first"})).await;
    let second = take(&svc, json!({"owner": "b", "data": "second", "lease_duration_ms": 30_000})).await;
    assert_eq!((&first.body["owner"], &first.body["data"]), (&json!("a"), &json!("first")));
    assert_eq!((&second.body["owner"], &second.body["data"]), (&json!("b"), &json!("second")));
    assert_eq!(first.body["lease_duration_ms"], 45_000, "the semaphore's");
    assert_eq!(second.body["lease_duration_ms"], 30_000);
    for grant in [first, second] {
        assert_eq!((&grant.body["key"], &grant.body["semaphore_key"]), (&json!("s"), &json!("s")));
    }
}

async fn permits_are_listed_page_by_page(svc: Client) {
    semaphore(&svc, 7).await;
    let mut out = Vec::new();
    for _ in 0..7 {
        out.push(take(&svc, json!({})).await);
    }
    let back = out.remove(3);
    svc.post("/semaphores/s/release", json!({"version": back.version})).await.unheld(200);
    let (mut listed, mut path) = (vec![], "/semaphores/s/permits?limit=2".to_owned());
    loop {
        let page = svc.get(&path).await.expect(200).body;
        listed.extend(page["items"].as_array().unwrap().iter().map(|permit| permit["version"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/semaphores/s/permits?limit=2&cursor={cursor}");
    }
    let mut expected = out.iter().map(|grant| json!(grant.version)).collect::<Vec<_>>();
    expected.sort_by_key(Value::to_string);
    listed.sort_by_key(Value::to_string);
    assert_eq!(listed, expected, "each grant that is out, once");
    svc.get("/semaphores/s/permits?prefix=a").await.names_invalid("prefix");
}

/// Guards invariants 1 and 6: an ended lease does not count, even before it is cleaned up.
async fn an_ended_permit_is_free_for_the_next_taker(svc: Client) {
    semaphore(&svc, 1).await;
    let ended = take(&svc, json!({"lease_duration_ms": SHORT_MS})).await;
    let free = async || (svc.get("/semaphores/s").await.body["busy_count"] == 0).then_some(());
    eventually("the permit's lease ends", SOON, free).await;
    assert_eq!(svc.get("/semaphores/s/permits").await.body["items"], json!([]));
    svc.post("/semaphores/s/heartbeat", json!({"version": ended.version}))
        .await
        .problem(409, "lease-expired");
    let next = take(&svc, json!({})).await;
    assert!(next.token > ended.token);
    svc.post("/semaphores/s/heartbeat", json!({"version": ended.version}))
        .await
        .problem(409, "version-mismatch");
}

async fn a_heartbeat_renews_one_permit(svc: Client) {
    semaphore(&svc, 2).await;
    let short = json!({"lease_duration_ms": 2_000, "data": "old"});
    let (renewed, left) = (take(&svc, short.clone()).await, take(&svc, short).await);
    let body = json!({"version": renewed.version, "lease_duration_ms": 60_000, "data": "new"});
    let beat = svc.post("/semaphores/s/heartbeat", body).await.grant();
    assert_eq!((beat.token, &beat.body["data"]), (renewed.token, &json!("new")));
    let one = async || (svc.get("/semaphores/s").await.body["busy_count"] == 1).then_some(());
    eventually("the other permit ends", Duration::from_secs(8), one).await;
    let permits = svc.get("/semaphores/s/permits").await.body["items"].clone();
    assert_eq!(permits[0]["version"], renewed.version);
    svc.post("/semaphores/s/heartbeat", json!({"version": left.version})).await.problem(409, "lease-expired");
    let body = json!({"version": renewed.version, "delete_data": true});
    assert_eq!(svc.post("/semaphores/s/heartbeat", body).await.grant().body["data"], Value::Null);
}

/// Guards invariant 4: a release ends the permit that its version names, or none.
async fn a_release_ends_one_permit(svc: Client) {
    semaphore(&svc, 3).await;
    let permits = [take(&svc, json!({})).await, take(&svc, json!({})).await];
    svc.post("/semaphores/s/release", json!({"version": random_version()}))
        .await
        .problem(409, "version-mismatch");
    let body = json!({"version": permits[0].version, "data": "done"});
    let first = svc.post("/semaphores/s/release", body.clone()).await;
    assert_eq!(first.unheld(200)["data"], "done");
    assert_eq!(
        svc.post("/semaphores/s/release", body).await.unheld(200),
        first.unheld(200),
        "once more: the same"
    );
    let out = svc.get("/semaphores/s/permits").await.body["items"].clone();
    assert_eq!((out.as_array().unwrap().len(), &out[0]["version"]), (1, &json!(permits[1].version)));
    svc.post("/semaphores/s/heartbeat", json!({"version": permits[0].version}))
        .await
        .problem(409, "version-mismatch");
}

async fn a_permits_version_stays_current_until_its_slot_is_granted_again(svc: Client) {
    semaphore(&svc, 1).await;
    let first = take(&svc, json!({})).await;
    svc.post("/semaphores/s/release", json!({"version": first.version})).await.unheld(200);
    svc.post("/semaphores/s/release", json!({"version": first.version})).await.unheld(200);
    take(&svc, json!({})).await;
    svc.post("/semaphores/s/release", json!({"version": first.version}))
        .await
        .problem(409, "version-mismatch");
}

async fn fields_that_permits_lack_are_refused(svc: Client) {
    semaphore(&svc, 1).await;
    for field in
        ["reentrant", "replace_data", "acquire_only_if_already_exists", "uses_semaphore", "delete_on_release"]
    {
        let body = json!({field: true, "owner": "me"});
        svc.post("/semaphores/s/acquire", body).await.names_invalid(field);
    }
    let permit = take(&svc, json!({})).await;
    let body = json!({"version": permit.version, "delete_lock": true});
    svc.post("/semaphores/s/release", body).await.names_invalid("delete_lock");
    svc.post("/semaphores/s/heartbeat", json!({"version": permit.version})).await.grant();
}
