//! Properties of every answer.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, Client, wire};

on_every_database![with_client:
    a_callers_request_id_is_answered,
    a_bad_request_id_is_replaced,
    answers_are_not_stored,
    head_works_as_get,
    success_is_json,
    a_json_answer_ends_with_a_newline,
];

async fn with_id(svc: &Client, path: &str, id: &str) -> Answer {
    wire::exchange(svc.port(), &wire::request("GET", path, &[("X-Request-Id", id)], b"")).await.unwrap()
}

async fn a_callers_request_id_is_answered(svc: Client) {
    let longest = "x".repeat(128);
    for id in ["a", "build-42/step:7", "!~", &longest] {
        for path in ["/health", "/locks/none", "/none", "/locks/%zz"] {
            assert_eq!(with_id(&svc, path, id).await.header("x-request-id"), id, "{path}");
        }
    }
}

async fn a_bad_request_id_is_replaced(svc: Client) {
    let long = "x".repeat(129);
    for id in ["two words", "caf\u{e9}", &long, ""] {
        let answered = with_id(&svc, "/locks/none", id).await.header("x-request-id").to_owned();
        assert!(!answered.is_empty() && answered != id, "{answered}");
    }
    let [one, other] = [svc.get("/health").await, svc.get("/health").await];
    assert_ne!(one.header("x-request-id"), other.header("x-request-id"), "a new one each");
}

async fn answers_are_not_stored(svc: Client) {
    let grant = svc.hold("k").await;
    for answer in [
        svc.lock("k").await,
        svc.get("/locks").await,
        svc.heartbeat("k", &grant.version).await,
        svc.acquire("k", json!({"wait_ms": 0})).await,
        svc.get("/none").await,
        svc.post("/locks", json!({})).await,
        svc.release("k", &grant.version).await,
        svc.delete("/locks/k").await,
        svc.get("/health").await,
        svc.get("/ready").await,
    ] {
        assert_eq!(answer.header("cache-control"), "no-store", "{} {}", answer.status, answer.text);
    }
}

async fn head_works_as_get(svc: Client) {
    svc.hold("k").await;
    for path in
        ["/locks/k", "/locks", "/health", "/ready", "/locks/none", "/none", "/metrics", "/problems/in-use"]
    {
        let (get, head) = (svc.get(path).await, svc.send(svc.request(Method::HEAD, path)).await);
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert_eq!(head.text, "", "{path}");
    }
}

async fn success_is_json(svc: Client) {
    let grant = svc.hold("k").await;
    for answer in [
        svc.lock("k").await,
        svc.get("/locks").await,
        svc.put("/semaphores/s", json!({"max_size": 1})).await,
        svc.heartbeat("k", &grant.version).await,
        svc.release("k", &grant.version).await,
    ] {
        assert!(answer.header("content-type").starts_with("application/json"), "{}", answer.text);
    }
}

/// With the newline, the prompt of a terminal begins on a new line.
async fn a_json_answer_ends_with_a_newline(svc: Client) {
    let grant = svc.hold("k").await;
    for answer in [
        svc.heartbeat("k", &grant.version).await,
        svc.acquire("k", json!({"wait_ms": 0})).await,
        svc.lock("k").await,
        svc.release("k", &grant.version).await,
        svc.get("/locks").await,
        svc.put("/semaphores/s", json!({"max_size": 1})).await,
        svc.get("/semaphores/s/permits").await,
        svc.get("/none").await,
        svc.post("/locks", json!({})).await,
        svc.acquire("k", json!({"owner": 1})).await,
        svc.get("/health").await,
        svc.get("/ready").await,
        svc.get("/openapi.json").await,
    ] {
        assert!(answer.text.ends_with("}\n") && !answer.text.ends_with("\n\n"), "{}", answer.text);
    }
}
