//! Malformed bodies.

use std::time::{Duration, Instant};

use crate::support::{Client, wire};

on_every_database![with_client:
    a_body_is_one_object,
    a_member_is_given_once,
    a_body_is_utf_8,
    deep_nesting_is_refused_at_once,
    numbers_of_any_length_are_refused_at_once,
    escapes_in_text_are_understood,
    bytes_that_are_not_http_do_no_harm,
];

async fn a_body_is_one_object(svc: Client) {
    for body in [
        "[]",
        "[{}]",
        "\"text\"",
        "7",
        "true",
        "null",
        "{",
        "}",
        "{}{}",
        "{} x",
        "{\"owner\"}",
        "{\"owner\":}",
        "{'owner': 1}",
        "{\"owner\": \"a\",}",
        "// {}",
        "{\"owner\": \"unended",
        "\u{0}",
        "owner=me",
        "{\"wait_ms\": 01}",
        "{\"wait_ms\": NaN}",
    ] {
        for (method, path) in [("POST", "/locks/k/acquire"), ("PUT", "/locks/k"), ("PUT", "/semaphores/k")] {
            let answer = wire::send(&svc, method, path, body.as_bytes()).await;
            assert_eq!(answer.status, 400, "{method} {path} {body}: {}", answer.text);
            assert!(!answer.problem(400, "invalid-request")["errors"].as_array().unwrap().is_empty());
        }
    }
    svc.lock("k").await.problem(404, "not-found");
}

async fn a_member_is_given_once(svc: Client) {
    let body = br#"{"owner": "a", "owner": "b"}"#;
    wire::send(&svc, "POST", "/locks/k/acquire", body).await.names_invalid("owner");
    let body = br#"{"owner": "a", "\u006fwner": "a"}"#;
    wire::send(&svc, "POST", "/locks/k/acquire", body).await.names_invalid("owner");
    let body = br#"{"wait_ms": null, "wait_ms": 0}"#;
    wire::send(&svc, "POST", "/locks/k/acquire", body).await.names_invalid("wait_ms");
}

async fn a_body_is_utf_8(svc: Client) {
    for text in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"caf\xe9"] {
        let body = [b"{\"owner\": \"", text, b"\"}"].concat();
        wire::send(&svc, "POST", "/locks/k/acquire", &body).await.problem(400, "invalid-request");
    }
    for lone in [r#"{"owner": "\ud83d"}"#, r#"{"data": "\udc00\ud83d"}"#] {
        wire::send(&svc, "POST", "/locks/k/acquire", lone.as_bytes()).await.problem(400, "invalid-request");
    }
    svc.lock("k").await.problem(404, "not-found");
}

async fn deep_nesting_is_refused_at_once(svc: Client) {
    let begin = Instant::now();
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let depth = 250_000 / (open.len() + close.len());
        let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        let unclosed = open.repeat(250_000 / open.len());
        for value in [nested, unclosed] {
            let body = format!("{{\"data\": {value}}}");
            wire::send(&svc, "POST", "/locks/k/acquire", body.as_bytes())
                .await
                .problem(400, "invalid-request");
            wire::send(&svc, "POST", "/locks/k/acquire", value.as_bytes())
                .await
                .problem(400, "invalid-request");
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    svc.get("/health").await.expect(200);
}

async fn numbers_of_any_length_are_refused_at_once(svc: Client) {
    let begin = Instant::now();
    for number in
        ["9".repeat(200_000), format!("1.{}", "1".repeat(200_000)), format!("1e{}", "9".repeat(100_000))]
    {
        let body = format!("{{\"lease_duration_ms\": {number}}}");
        wire::send(&svc, "POST", "/locks/k/acquire", body.as_bytes()).await.problem(400, "invalid-request");
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

async fn escapes_in_text_are_understood(svc: Client) {
    let body = br#"{"\u006fwner": "\ud83d\ude00 \"\\\/\n\u00e9"}"#;
    let grant = wire::send(&svc, "POST", "/locks/k/acquire", body).await.grant();
    assert_eq!(grant.body["owner"], "😀 \"\\/\né");
}

async fn bytes_that_are_not_http_do_no_harm(svc: Client) {
    for bytes in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
    {
        // An answer, if there is one, is not a success.
        if let Ok(answer) = wire::exchange(svc.port(), bytes).await {
            assert!(answer.status >= 400, "{answer:?}");
        }
    }
    svc.get("/health").await.expect(200);
}
