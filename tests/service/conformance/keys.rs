//! Keys: one path segment, compared byte for byte on every database.

use serde_json::json;

use crate::support::{Client, names::segment, wire};

on_every_database![with_client:
    keys_are_compared_byte_for_byte,
    keys_may_have_255_characters,
    a_key_may_be_anything_printable,
    a_slash_is_written_as_an_escape,
    invalid_keys_are_refused,
    keys_of_semaphores_follow_the_same_rules,
];

/// Guards invariant 10: what a database's collation would fold stays apart.
async fn keys_are_compared_byte_for_byte(svc: Client) {
    let keys = [
        "A", "a", "a ", " a", "a  ", "á", "a\u{301}", "ß", "ss", "SS", "ẞ", "ı", "i", "I", "æ", "ae", "ﬀ",
        "ff", "1", "01",
    ];
    for (at, key) in keys.iter().enumerate() {
        let grant =
            svc.acquire(&segment(key), json!({"owner": format!("owner {at}"), "wait_ms": 0})).await.grant();
        assert_eq!(grant.body["key"], *key);
        assert_eq!(grant.body["owner"], format!("owner {at}"));
    }
    for (at, key) in keys.iter().enumerate() {
        assert_eq!(svc.lock(&segment(key)).await.grant().body["owner"], format!("owner {at}"), "{key:?}");
    }
}

async fn keys_may_have_255_characters(svc: Client) {
    for character in ["x", "é", "日", "😀"] {
        let key = character.repeat(255);
        assert_eq!(svc.acquire(&segment(&key), json!({})).await.grant().body["key"], key);
        assert_eq!(svc.lock(&segment(&key)).await.grant().body["key"], key);
        let longer = format!("{key}{character}");
        svc.acquire(&segment(&longer), json!({})).await.names_invalid("key");
        // What differs in the last character only is another key.
        let other = format!("{}y", character.repeat(254));
        svc.acquire(&segment(&other), json!({"wait_ms": 0})).await.grant();
    }
}

async fn a_key_may_be_anything_printable(svc: Client) {
    for key in [
        "...",
        "a.b",
        "a+b",
        "a b",
        "%",
        "%41",
        "_",
        "\\",
        "'",
        "\"; DROP TABLE locks; --",
        "{key}",
        "a?b#c",
        "\u{a0}",
        "\u{200b}",
        "😀👩‍👩‍👧",
    ] {
        let grant = svc.acquire(&segment(key), json!({"wait_ms": 0})).await.grant();
        assert_eq!(grant.body["key"], key);
        assert_eq!(svc.lock(&segment(key)).await.grant().version, grant.version);
        svc.release(&segment(key), &grant.version).await.unheld(200);
        svc.delete(&format!("/locks/{}", segment(key))).await.expect(204);
    }
}

async fn a_slash_is_written_as_an_escape(svc: Client) {
    for (written, key) in [("a%2Fb", "a/b"), ("a%2fb%2f", "a/b/"), ("%2F", "/"), ("x%2Facquire", "x/acquire")]
    {
        assert_eq!(svc.acquire(written, json!({})).await.body["key"], key);
        assert_eq!(svc.lock(written).await.grant().body["key"], key);
    }
    svc.get("/locks/a/b").await.problem(404, "route-not-found");
}

async fn invalid_keys_are_refused(svc: Client) {
    let long = format!("/locks/{}", "x".repeat(256));
    for target in [
        "/locks/.",
        "/locks/..",
        "/locks/%2E",
        "/locks/%2e%2E",
        "/locks/.%2e",
        "/locks/%00",
        "/locks/a%00b",
        "/locks/%0A",
        "/locks/%1F",
        "/locks/%7F",
        "/locks/%C2%85",
        "/locks/%C2%9F",
        "/locks/%zz",
        "/locks/%",
        "/locks/%4",
        "/locks/%ff",
        "/locks/%C0%AF",
        "/locks/%ED%A0%80",
        "/locks/%F0%9F",
        &long,
    ] {
        for (method, action) in [("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/acquire")] {
            let answer = wire::send(&svc, method, &format!("{target}{action}"), b"").await;
            answer.names_invalid("key");
        }
    }
}

async fn keys_of_semaphores_follow_the_same_rules(svc: Client) {
    for key in ["S", "s", "s ", "é", "😀/%"] {
        let path = format!("/semaphores/{}", segment(key));
        assert_eq!(svc.put(&path, json!({"max_size": 1})).await.expect(201).body["key"], key);
        let permit = svc.post(&format!("{path}/acquire"), json!({"wait_ms": 0})).await.grant();
        assert_eq!((&permit.body["key"], &permit.body["semaphore_key"]), (&json!(key), &json!(key)));
    }
    wire::send(&svc, "GET", "/semaphores/%2e%2e", b"").await.names_invalid("key");
    wire::send(&svc, "PUT", "/semaphores/%00", b"{\"max_size\": 1}").await.names_invalid("key");
}
