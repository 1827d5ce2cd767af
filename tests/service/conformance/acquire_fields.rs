//! The fields of an acquire, one by one: owner, lease, waiting time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::Client;

on_every_database![with_client:
    an_owner_has_1_to_255_characters,
    a_lease_is_between_a_millisecond_and_a_day,
    the_wait_is_as_long_as_the_lease_by_default,
    the_additional_time_comes_on_top,
    the_sum_of_both_waits_has_a_maximum,
    a_default_wait_above_the_maximum_is_cut,
    the_refresh_period_is_taken_and_checked,
    null_means_absent,
    numbers_are_whole_and_in_range,
    flags_are_true_or_false,
];

async fn refused(svc: &Client, field: &str, value: Value) {
    svc.acquire("refused", json!({field: value})).await.names_invalid(field);
}

async fn an_owner_has_1_to_255_characters(svc: Client) {
    for (key, owner) in [
        ("a", "x".to_owned()),
        ("b", "é".repeat(255)),
        ("c", "😀".repeat(255)),
        ("d", "two\nlines ".to_owned()),
    ] {
        let grant = svc.acquire(key, json!({"owner": owner})).await.grant();
        assert_eq!(grant.body["owner"], owner);
        assert_eq!(svc.lock(key).await.body["owner"], owner);
    }
    for owner in [json!(""), json!("x".repeat(256)), json!("a\u{0}b"), json!(7), json!({})] {
        refused(&svc, "owner", owner).await;
    }
    svc.lock("refused").await.problem(404, "not-found");
}

async fn a_lease_is_between_a_millisecond_and_a_day(svc: Client) {
    let grant = svc.acquire("k", json!({"lease_duration_ms": 86_400_000})).await.grant();
    assert_eq!(grant.body["lease_duration_ms"], 86_400_000);
    for lease in [json!(0), json!(-1), json!(86_400_001)] {
        refused(&svc, "lease_duration_ms", lease).await;
    }
}

async fn the_wait_is_as_long_as_the_lease_by_default(svc: Client) {
    svc.hold("k").await;
    let begin = Instant::now();
    svc.acquire("k", json!({"lease_duration_ms": 400})).await.not_granted("timed_out");
    assert!(begin.elapsed() >= Duration::from_millis(400), "{:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

async fn the_additional_time_comes_on_top(svc: Client) {
    svc.hold("k").await;
    for waits in [
        json!({"wait_ms": 200, "additional_time_to_wait_for_lock_ms": 300}),
        json!({"lease_duration_ms": 200, "additional_time_to_wait_for_lock_ms": 300}),
        json!({"wait_ms": 0, "additional_time_to_wait_for_lock_ms": 500}),
    ] {
        let begin = Instant::now();
        svc.acquire("k", waits).await.not_granted("timed_out");
        assert!(begin.elapsed() >= Duration::from_millis(500), "{:?}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
}

async fn the_sum_of_both_waits_has_a_maximum(svc: Client) {
    let body = json!({"wait_ms": 400_000, "additional_time_to_wait_for_lock_ms": 200_000});
    svc.acquire("a", body).await.grant();
    let body = json!({"wait_ms": 400_000, "additional_time_to_wait_for_lock_ms": 200_001});
    svc.acquire("b", body).await.problem(400, "invalid-request");
    refused(&svc, "wait_ms", json!(600_001)).await;
    refused(&svc, "wait_ms", json!(-1)).await;
    refused(&svc, "additional_time_to_wait_for_lock_ms", json!(600_001)).await;
    refused(&svc, "additional_time_to_wait_for_lock_ms", json!(-1)).await;
}

async fn a_default_wait_above_the_maximum_is_cut(svc: Client) {
    svc.acquire("a", json!({"lease_duration_ms": 3_600_000})).await.grant();
    svc.acquire("b", json!({"additional_time_to_wait_for_lock_ms": 600_000})).await.grant();
}

async fn the_refresh_period_is_taken_and_checked(svc: Client) {
    svc.acquire("k", json!({"refresh_period_ms": 50})).await.grant();
    for period in [json!(-1), json!(0.5), json!("50")] {
        refused(&svc, "refresh_period_ms", period).await;
    }
}

async fn null_means_absent(svc: Client) {
    let nulls = json!({
        "owner": null, "lease_duration_ms": null, "wait_ms": null, "additional_time_to_wait_for_lock_ms": null,
        "refresh_period_ms": null, "data": null, "replace_data": null, "delete_on_release": null,
        "acquire_only_if_already_exists": null, "reentrant": null, "version": null, "uses_semaphore": null,
    });
    let grant = svc.acquire("k", nulls).await.grant();
    assert_eq!(grant.body["owner"], "anonymous");
    assert_eq!(grant.body["lease_duration_ms"], 15_000);
    assert_eq!(grant.body["delete_on_release"], false);
}

async fn numbers_are_whole_and_in_range(svc: Client) {
    for field in ["lease_duration_ms", "wait_ms", "additional_time_to_wait_for_lock_ms", "refresh_period_ms"]
    {
        for value in
            ["1.5", "-1", "99999999999999999999999", "1e400", "9223372036854775808", "\"1\"", "true", "[]"]
        {
            let body = format!("{{\"{field}\": {value}}}");
            let answer = crate::support::wire::send(&svc, "POST", "/locks/k/acquire", body.as_bytes()).await;
            let errors = &answer.problem(400, "invalid-request")["errors"];
            let named = errors.as_array().unwrap().iter().any(|error| error["field"] == field);
            // A number that no float can hold may be refused as invalid JSON.
            assert!(named || value == "1e400", "{field} = {value}: {errors}");
        }
    }
    svc.lock("k").await.problem(404, "not-found");
}

async fn flags_are_true_or_false(svc: Client) {
    let flags = [
        "replace_data",
        "delete_on_release",
        "acquire_only_if_already_exists",
        "reentrant",
        "uses_semaphore",
    ];
    for flag in flags {
        for value in [json!("true"), json!(1), json!([])] {
            refused(&svc, flag, value).await;
        }
    }
}
