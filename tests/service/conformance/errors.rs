//! Errors: problem documents everywhere, in a fixed order, explained by the service itself.

use reqwest::Method;
use serde_json::json;

use crate::support::{Client, random_version, wire};

on_every_database![with_client:
    an_unknown_route_is_answered_as_such,
    an_unknown_method_is_answered_with_the_known_ones,
    a_body_that_is_not_declared_as_json_is_refused_with_advice,
    a_body_above_256_kib_is_refused,
    several_errors_are_answered_in_order,
    all_errors_of_a_body_are_named,
    a_bad_request_changes_nothing,
    every_problem_explains_itself,
    an_error_names_the_next_step,
    an_unknown_name_is_answered_with_the_nearest,
];

fn typed(
    svc: &Client,
    method: Method,
    path: &str,
    content_type: &str,
    body: String,
) -> reqwest::RequestBuilder {
    svc.request(method, path).header("content-type", content_type).body(body)
}

async fn an_unknown_route_is_answered_as_such(svc: Client) {
    for path in
        ["/lock", "/locks/k/steal", "/locks/k/acquire/now", "/semaphores/s/permits/1", "/favicon.ico", "/%zz"]
    {
        wire::send(&svc, "GET", path, b"").await.problem(404, "route-not-found");
        wire::send(&svc, "POST", path, b"{}").await.problem(404, "route-not-found");
    }
}

async fn an_unknown_method_is_answered_with_the_known_ones(svc: Client) {
    for (method, path, allowed) in [
        ("PATCH", "/locks/k", vec!["DELETE", "GET", "PUT"]),
        ("GET", "/locks/k/acquire", vec!["POST"]),
        ("PUT", "/locks/k/release", vec!["POST"]),
        ("POST", "/locks", vec!["GET"]),
        ("POST", "/semaphores/s", vec!["DELETE", "GET", "PUT"]),
        ("DELETE", "/semaphores/s/permits", vec!["GET"]),
        ("POST", "/health", vec!["GET"]),
        ("BREW", "/locks/k", vec!["DELETE", "GET", "PUT"]),
    ] {
        let answer = wire::send(&svc, method, path, b"").await;
        answer.problem(405, "method-not-allowed");
        let mut named = answer
            .header("allow")
            .split(',')
            .map(str::trim)
            .filter(|name| *name != "HEAD")
            .collect::<Vec<_>>();
        named.sort_unstable();
        assert_eq!(named, allowed, "{method} {path}");
    }
}

async fn a_body_that_is_not_declared_as_json_is_refused_with_advice(svc: Client) {
    for content_type in
        ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "application/xml", ""]
    {
        let refused =
            svc.send(typed(&svc, Method::POST, "/locks/k/acquire", content_type, "{}".into())).await;
        let detail = refused.problem(415, "unsupported-media-type")["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("curl --json"), "{detail}");
        svc.send(typed(&svc, Method::PUT, "/locks/k", content_type, "{}".into()))
            .await
            .problem(415, "unsupported-media-type");
    }
    for content_type in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        svc.send(typed(&svc, Method::PUT, "/locks/k", content_type, "{}".into())).await.expect_success();
    }
    // An empty body counts as {}, whatever its content type.
    for content_type in ["text/plain", "application/x-www-form-urlencoded"] {
        let key = content_type.replace('/', "-");
        svc.send(typed(&svc, Method::POST, &format!("/locks/{key}/acquire"), content_type, String::new()))
            .await
            .grant();
    }
}

async fn a_body_above_256_kib_is_refused(svc: Client) {
    let padded = |bytes: usize| format!("{{{}}}", " ".repeat(bytes - 2));
    let largest = padded(256 * 1024).into_bytes();
    wire::send(&svc, "PUT", "/locks/k", &largest).await.unheld(201);
    for bytes in [256 * 1024 + 1, 3_000_000] {
        wire::send(&svc, "PUT", "/locks/k", padded(bytes).as_bytes()).await.problem(413, "payload-too-large");
    }
    let chunk = format!("40001\r\n{}\r\n0\r\n\r\n", padded(0x40001));
    let headers = [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")];
    let request = [wire::request("PUT", "/locks/k", &headers, b""), chunk.into_bytes()].concat();
    wire::exchange(svc.port(), &request).await.unwrap().problem(413, "payload-too-large");
}

/// The order is 404 of the route, 405, 413, 415, 400, then errors that depend on the state.
async fn several_errors_are_answered_in_order(svc: Client) {
    let large = "x".repeat(300_000);
    let send = async |method, path: &str, content_type, body: &str| {
        // Each request has its own connection, because the service may close one whose body it does not read.
        let svc = svc.at(svc.port());
        svc.send(typed(&svc, method, path, content_type, body.to_owned())).await
    };
    send(Method::PATCH, "/nothing", "text/plain", &large).await.problem(404, "route-not-found");
    send(Method::PATCH, "/locks/%00", "text/plain", &large).await.problem(405, "method-not-allowed");
    send(Method::PUT, "/locks/%00", "text/plain", &large).await.problem(413, "payload-too-large");
    send(Method::PUT, "/locks/%00", "text/plain", "nonsense").await.problem(415, "unsupported-media-type");
    send(Method::PUT, "/locks/%00", "application/json", "nonsense").await.problem(400, "invalid-request");
    svc.put("/semaphores/s", json!({"max_size": 1})).await.expect(201);
    svc.acquire("s", json!({"owner": 1})).await.problem(400, "invalid-request");
    svc.post("/locks/none/heartbeat", json!({"version": "x"})).await.problem(400, "invalid-request");
}

async fn all_errors_of_a_body_are_named(svc: Client) {
    let body = json!({"owner": 7, "lease_duration_ms": 0, "wait_ms": "long", "unknown": 1, "lease_ms": 5});
    let answer = svc.acquire("k", body).await;
    for field in ["owner", "lease_duration_ms", "wait_ms", "unknown", "lease_ms"] {
        answer.names_invalid(field);
    }
}

async fn a_bad_request_changes_nothing(svc: Client) {
    let grant = svc.hold("k").await;
    svc.post("/locks/k/release", json!({"version": grant.version, "unknown": true}))
        .await
        .names_invalid("unknown");
    svc.post("/locks/k/release", json!({"version": grant.version, "data": 1})).await.names_invalid("data");
    assert_eq!(svc.lock("k").await.body["updated_at"], grant.body["updated_at"]);
}

async fn every_problem_explains_itself(svc: Client) {
    let grant = svc.hold("k").await;
    let problems = [
        svc.lock("none").await,
        svc.get("/none").await,
        svc.acquire("k", json!({"wait_ms": 0})).await,
        svc.heartbeat("k", &random_version()).await,
        svc.heartbeat("k", "x").await,
        svc.delete("/locks/k").await,
        svc.get("/semaphores/k").await,
        svc.post("/locks", json!({})).await,
        svc.send(typed(&svc, Method::PUT, "/locks/k", "text/plain", "{}".into())).await,
    ];
    for problem in &problems {
        let explained = svc.get(problem.body["type"].as_str().unwrap()).await.expect(200);
        assert!(!explained.text.is_empty());
        assert!(!problem.text.contains(&grant.version));
    }
    for name in ["lease-expired", "superseded", "payload-too-large", "unavailable"] {
        svc.get(&format!("/problems/{name}")).await.expect(200);
    }
    svc.get("/problems/none").await.expect(404);
}

/// A caller that reads only `detail` knows what to do.
async fn an_error_names_the_next_step(svc: Client) {
    let ask = json!({"wait_ms": 0});
    svc.put("/semaphores/s", json!({"max_size": 1})).await.expect(201);
    svc.hold("k").await;
    let slash = "`%2F`: /locks/team%2Fapp/acquire";
    for (answer, status, problem, step) in [
        (svc.acquire("team/app", ask.clone()).await, 404, "route-not-found", slash),
        (svc.get("/locks/team/app").await, 404, "route-not-found", "`%2F`: /locks/team%2Fapp"),
        (svc.get("/locks//acquire").await, 404, "route-not-found", "never empty"),
        (svc.get("/locks/k/acquire").await, 405, "method-not-allowed", "Use POST"),
        (svc.get("/semaphores/s/release").await, 405, "method-not-allowed", "Use POST"),
        (svc.post("/locks/k", json!({})).await, 405, "method-not-allowed", "/locks/{key}/acquire"),
        (svc.post("/semaphores/none/acquire", ask.clone()).await, 404, "not-found", "PUT /semaphores/{key}"),
        (
            svc.acquire("none", json!({"uses_semaphore": true})).await,
            404,
            "not-found",
            "PUT /semaphores/{key}",
        ),
        (svc.get("/semaphores/none").await, 404, "not-found", "PUT /semaphores/{key}"),
        (svc.lock("none").await, 404, "not-found", "first acquire"),
        (svc.acquire("s", ask.clone()).await, 409, "wrong-kind", "is a semaphore"),
        (svc.lock("s").await, 409, "wrong-kind", "is a semaphore"),
        (svc.post("/semaphores/k/acquire", ask.clone()).await, 409, "wrong-kind", "is a lock"),
        (svc.put("/semaphores/k", json!({"max_size": 1})).await, 409, "wrong-kind", "is a lock"),
        (svc.acquire("k", ask.clone()).await, 423, "not-granted", "wait_ms"),
        (svc.delete("/locks/k").await, 409, "in-use", "version"),
    ] {
        let detail = answer.problem(status, problem)["detail"].as_str().unwrap();
        assert!(detail.contains(step), "{step} in {detail}");
    }
}

async fn an_unknown_name_is_answered_with_the_nearest(svc: Client) {
    let meant =
        async |body| svc.acquire("k", body).await.problem(400, "invalid-request")["detail"].to_string();
    for (name, field) in [
        ("onwer", "owner"),
        ("lease_ms", "lease_duration_ms"),
        ("waitMs", "wait_ms"),
        ("use_semaphore", "uses_semaphore"),
    ] {
        let detail = meant(json!({name: 1})).await;
        assert!(detail.contains(&format!("did you mean {field}?")), "{detail}");
    }
    let detail = meant(json!({"ttl": 1})).await;
    assert!(detail.contains("owner, lease_duration_ms, "), "{detail}");
    let answer = svc.get("/locks?prefx=a").await;
    let detail = answer.problem(400, "invalid-request")["detail"].as_str().unwrap();
    assert!(detail.contains("did you mean prefix?"), "{detail}");
}
