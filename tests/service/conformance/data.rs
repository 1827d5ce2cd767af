//! The text that is stored with a lock.

use serde_json::{Value, json};

use crate::support::Client;

on_every_database![with_client:
    data_is_kept_as_it_was_given,
    data_has_up_to_32_kib_of_utf_8,
    an_acquire_keeps_the_data_that_is_there,
    an_acquire_stores_data_where_there_is_none,
    an_acquire_may_replace_the_data,
    a_put_replaces_the_data,
];

async fn free_with(svc: &Client, key: &str, data: Value) {
    svc.put(&format!("/locks/{key}"), json!({"data": data})).await.expect(201);
}

async fn data_is_kept_as_it_was_given(svc: Client) {
    let texts = [
        "",
        " ",
        "\\ ' \" % _ \u{7f}\t\r\n",
        "Ünïcödé 日本語 😀 \u{202e}",
        "{\"json\": [1, 2]}",
        "\u{ffff}\u{10ffff}",
    ];
    for (at, text) in texts.into_iter().enumerate() {
        let key = format!("k{at}");
        assert_eq!(svc.acquire(&key, json!({"data": text})).await.grant().body["data"], text);
        assert_eq!(svc.lock(&key).await.body["data"], text);
    }
}

async fn data_has_up_to_32_kib_of_utf_8(svc: Client) {
    for (key, text) in [("a", "x".repeat(32_768)), ("b", "😀".repeat(8_192))] {
        assert_eq!(svc.acquire(key, json!({"data": text})).await.grant().body["data"], text);
        assert_eq!(svc.lock(key).await.body["data"], text);
        for more in ["x", "é"] {
            svc.acquire("c", json!({"data": format!("{text}{more}")})).await.names_invalid("data");
            svc.put("/locks/c", json!({"data": format!("{text}{more}")})).await.names_invalid("data");
        }
    }
    svc.acquire("c", json!({"data": "nul \u{0}"})).await.names_invalid("data");
    svc.lock("c").await.problem(404, "not-found");
}

async fn an_acquire_keeps_the_data_that_is_there(svc: Client) {
    free_with(&svc, "k", json!("there")).await;
    assert_eq!(svc.acquire("k", json!({"data": "mine"})).await.grant().body["data"], "there");
    assert_eq!(svc.lock("k").await.body["data"], "there");
}

async fn an_acquire_stores_data_where_there_is_none(svc: Client) {
    free_with(&svc, "k", Value::Null).await;
    assert_eq!(svc.acquire("k", json!({"data": "mine"})).await.grant().body["data"], "mine");
    assert_eq!(svc.lock("k").await.body["data"], "mine");
}

async fn an_acquire_may_replace_the_data(svc: Client) {
    free_with(&svc, "a", json!("there")).await;
    let grant = svc.acquire("a", json!({"data": "mine", "replace_data": true})).await.grant();
    assert_eq!(grant.body["data"], "mine");
    free_with(&svc, "b", json!("there")).await;
    let grant = svc.acquire("b", json!({"replace_data": true})).await.grant();
    assert_eq!(grant.body["data"], Value::Null, "nothing takes the place of the data");
    assert_eq!(svc.lock("b").await.body["data"], Value::Null);
}

async fn a_put_replaces_the_data(svc: Client) {
    free_with(&svc, "k", json!("first")).await;
    assert_eq!(svc.put("/locks/k", json!({"data": "second"})).await.unheld(200)["data"], "second");
    assert_eq!(
        svc.put("/locks/k", json!({})).await.unheld(200)["data"],
        Value::Null,
        "data = null is the default"
    );
    assert_eq!(svc.lock("k").await.body["data"], Value::Null);
}
