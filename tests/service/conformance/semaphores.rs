//! Semaphores: created, shown, taken from, deleted.

use serde_json::{Value, json};

use crate::support::Client;

on_every_database![with_client:
    a_semaphore_is_created_and_shown,
    the_fields_of_a_semaphore_are_checked,
    a_semaphore_must_be_created_before_it_is_used,
    a_semaphore_gives_no_more_permits_than_it_has,
    a_refusal_shows_the_holders_that_end_first,
    many_callers_at_once_get_as_many_permits_as_there_are,
    a_semaphore_with_permits_out_is_not_deleted,
    a_free_semaphore_is_deleted,
    the_largest_semaphore_works,
];

async fn a_semaphore_is_created_and_shown(svc: Client) {
    let created = svc.put("/semaphores/s", json!({"max_size": 3})).await.expect(201).body;
    let mut members = created.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>();
    members.sort_unstable();
    let expected = [
        "busy_count",
        "created_at",
        "guarded",
        "key",
        "lease_duration_ms",
        "max_size",
        "tenant",
        "updated_at",
        "waiters",
    ];
    assert_eq!(members, expected);
    assert_eq!((&created["key"], &created["tenant"]), (&json!("s"), &json!(svc.tenant())));
    assert_eq!(
        (&created["max_size"], &created["busy_count"], &created["waiters"]),
        (&json!(3), &json!(0), &json!(0))
    );
    assert_eq!(created["lease_duration_ms"], 15_000);
    assert_eq!(svc.get("/semaphores/s").await.expect(200).body, created);
    svc.get("/semaphores/none").await.problem(404, "not-found");
}

async fn the_fields_of_a_semaphore_are_checked(svc: Client) {
    for (field, body) in [
        ("max_size", json!({})),
        ("max_size", json!({"max_size": null})),
        ("max_size", json!({"max_size": 0})),
        ("max_size", json!({"max_size": 1_000_001})),
        ("max_size", json!({"max_size": "3"})),
        ("lease_duration_ms", json!({"max_size": 1, "lease_duration_ms": 0})),
        ("lease_duration_ms", json!({"max_size": 1, "lease_duration_ms": 86_400_001})),
        ("busy_count", json!({"max_size": 1, "busy_count": 0})),
    ] {
        svc.put("/semaphores/s", body).await.names_invalid(field);
    }
    svc.get("/semaphores/s").await.problem(404, "not-found");
}

async fn a_semaphore_must_be_created_before_it_is_used(svc: Client) {
    svc.post("/semaphores/s/acquire", json!({})).await.problem(404, "not-found");
    svc.get("/semaphores/s/permits").await.problem(404, "not-found");
    svc.delete("/semaphores/s").await.problem(404, "not-found");
    let version = crate::support::random_version();
    svc.post("/semaphores/s/heartbeat", json!({"version": version})).await.problem(404, "not-found");
    svc.post("/semaphores/s/release", json!({"version": version})).await.problem(404, "not-found");
}

/// Guards invariant 1 for semaphores: at most `max_size` grants whose lease has not ended.
async fn a_semaphore_gives_no_more_permits_than_it_has(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 3})).await.expect(201);
    let mut permits = Vec::new();
    for count in 1..=3 {
        permits.push(svc.post("/semaphores/s/acquire", json!({"wait_ms": 0})).await.grant());
        assert_eq!(svc.get("/semaphores/s").await.body["busy_count"], count);
    }
    let versions = permits.iter().map(|permit| &permit.version).collect::<std::collections::HashSet<_>>();
    assert_eq!(versions.len(), 3, "each permit is a grant with its own version");
    svc.post("/semaphores/s/acquire", json!({"wait_ms": 0})).await.not_granted("no_wait");
    svc.post("/semaphores/s/release", json!({"version": permits[1].version})).await.unheld(200);
    assert_eq!(svc.get("/semaphores/s").await.body["busy_count"], 2);
    let next = svc.post("/semaphores/s/acquire", json!({"wait_ms": 0})).await.grant();
    assert!(next.token > permits[2].token);
    svc.post("/semaphores/s/acquire", json!({"wait_ms": 0})).await.not_granted("no_wait");
}

async fn a_refusal_shows_the_holders_that_end_first(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 12})).await.expect(201);
    for at in 0..12 {
        let lease_ms = 50_000 + (at * 5 % 12) * 1_000;
        let body = json!({"owner": format!("owner {at}"), "lease_duration_ms": lease_ms});
        svc.post("/semaphores/s/acquire", body).await.grant();
    }
    let refused = svc.post("/semaphores/s/acquire", json!({"wait_ms": 0})).await;
    let holders = refused.not_granted("no_wait")["holders"].as_array().unwrap();
    assert_eq!(holders.len(), 10, "at most ten");
    let left = holders.iter().map(|holder| holder["expires_in_ms"].as_i64().unwrap()).collect::<Vec<_>>();
    assert!(left.is_sorted() && left[9] < 60_000, "those that end first: {left:?}");
    assert_eq!(refused.retry_after(), (left[0] + 999) / 1000, "from the earliest end");
}

/// Guards invariant 1 for semaphores, with all acquires at the same moment.
async fn many_callers_at_once_get_as_many_permits_as_there_are(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 5})).await.expect(201);
    let calls =
        (0..30).map(|_| svc.post_aside("/semaphores/s/acquire", json!({"wait_ms": 0}))).collect::<Vec<_>>();
    let mut granted = 0;
    for call in calls {
        let answer = call.await.unwrap();
        if answer.status == 200 { granted += 1 } else { drop(answer.not_granted("no_wait").clone()) }
    }
    assert_eq!(granted, 5);
    assert_eq!(svc.get("/semaphores/s").await.body["busy_count"], 5);
}

async fn a_semaphore_with_permits_out_is_not_deleted(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 2})).await.expect(201);
    let permit = svc.post("/semaphores/s/acquire", json!({"owner": "me"})).await.grant();
    let refused = svc.delete("/semaphores/s").await;
    assert_eq!(refused.problem(409, "in-use")["holders"][0]["owner"], "me");
    svc.post("/semaphores/s/heartbeat", json!({"version": permit.version})).await.grant();
}

async fn a_free_semaphore_is_deleted(svc: Client) {
    svc.put("/semaphores/s", json!({"max_size": 2})).await.expect(201);
    let permit = svc.post("/semaphores/s/acquire", json!({})).await.grant();
    svc.post("/semaphores/s/release", json!({"version": permit.version})).await.unheld(200);
    assert_eq!(svc.delete("/semaphores/s").await.expect(204).text, "");
    svc.get("/semaphores/s").await.problem(404, "not-found");
    svc.delete("/semaphores/s").await.problem(404, "not-found");
    svc.post("/semaphores/s/release", json!({"version": permit.version})).await.problem(404, "not-found");
    let again = svc.put("/semaphores/s", json!({"max_size": 1})).await.expect(201).body;
    assert_eq!(again["busy_count"], 0);
}

async fn the_largest_semaphore_works(svc: Client) {
    let created = svc.put("/semaphores/s", json!({"max_size": 1_000_000})).await.expect(201);
    assert_eq!(created.body["max_size"], 1_000_000);
    let permit = svc.post("/semaphores/s/acquire", json!({})).await.grant();
    assert_eq!(permit.body["data"], Value::Null);
    assert_eq!(svc.get("/semaphores/s").await.body["busy_count"], 1);
}
