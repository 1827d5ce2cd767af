//! The callers that a route admits, and which of several errors a caller is answered.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;

use super::{May, routes};
use crate::{
    access::Guarded,
    support::{Client, Dialect},
};

/// Each credential, and the highest role that it gives. A credential without a role is answered 401.
async fn credentials(guarded: &Guarded) -> Vec<(&'static str, Client, Option<May>)> {
    let nobody = guarded.service.client().with_tenant("acme");
    let mut all = vec![
        ("none", nobody.clone(), None),
        ("unknown", nobody.with_token("dbl_unknown"), None),
        ("no JWT", nobody.with_token("eyJhbGciOiJub25lIn0.e30."), None),
    ];
    for (name, role, may) in
        [("read", "read", May::Read), ("write", "write", May::Write), ("admin", "admin", May::Admin)]
    {
        let token = guarded.client(json!({"name": name, "role": role, "tenant": "acme"})).await;
        all.push((name, token.with_tenant("acme"), Some(may)));
    }
    let made =
        guarded.admin.post("/tokens", json!({"name": "revoked", "role": "admin"})).await.expect(201).body;
    let revoked = nobody.with_token(made["token"].as_str().unwrap());
    revoked.get("/locks").await.expect(200);
    guarded.admin.delete(&format!("/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
    all.push(("revoked", revoked, None));
    all
}

#[tokio::test]
async fn every_route_admits_exactly_the_callers_that_it_should() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let guarded = Guarded::start(&database).await;
    let document = guarded.admin.get("/api-docs/openapi.json").await.expect(200).body;
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    let documented: BTreeSet<_> =
        operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(routes().iter().map(|route| route.id).collect::<BTreeSet<_>>(), documented);
    for (credential, caller, has) in credentials(&guarded).await {
        for route in routes() {
            let name = format!("{credential}: {}", route.name());
            let answer = route.ask(&caller, "some-key").await;
            match has {
                _ if route.may == May::Everybody => answer.expect_success(),
                None => {
                    assert_eq!(answer.status, 401, "{name} {}", answer.text);
                    assert!(answer.header("www-authenticate").starts_with("Bearer"), "{name}");
                }
                Some(has) if has < route.may => {
                    assert_eq!(answer.status, 403, "{name} {}", answer.text);
                }
                Some(_) => {
                    assert!(![401, 403].contains(&answer.status), "{name} {} {}", answer.status, answer.text);
                }
            }
        }
    }
}

/// The order of the contract: 403 before 400, even if only the body shows that a role is needed.
#[tokio::test]
async fn a_role_that_is_too_low_is_answered_before_errors_in_the_body() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let guarded = Guarded::start(&database).await;
    let forced = json!({"force": true, "version": "none", "unknown": 1});
    for (role, status) in [("write", 403), ("admin", 400)] {
        let caller = guarded.client(json!({"name": role, "role": role, "tenant": "acme"})).await;
        let caller = caller.with_tenant("acme");
        for path in ["/locks/k/release", "/semaphores/k/release"] {
            caller.post(path, forced.clone()).await.expect(status);
        }
    }
}

/// Terraform sends only basic authentication. On this route its password is the token.
#[tokio::test]
async fn terraforms_password_is_its_token() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let guarded = Guarded::start(&database).await;
    let token = guarded.token(json!({"name": "t", "role": "write", "tenant": "acme"})).await;
    let nobody = guarded.service.client().with_tenant("acme");
    let ask = async |method: &str, path: &str, body: &'static str| {
        let request = nobody
            .request(Method::from_bytes(method.as_bytes()).unwrap(), path)
            .basic_auth("any", Some(&token));
        nobody.send(request.header("content-type", "application/json").body(body)).await
    };
    ask("LOCK", "/terraform/state", r#"{"ID":"a"}"#).await.expect(200);
    ask("UNLOCK", "/terraform/state", "").await.problem(403, "forbidden");
    ask("UNLOCK", "/terraform/state", r#"{"ID":"a"}"#).await.expect(200);
    ask("GET", "/locks", "").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn metrics_and_documents_are_protected_where_that_is_set() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let settings = [("DB_LOCKS_PROTECT_METRICS", "true"), ("DB_LOCKS_PROTECT_DOCS", "true")];
    let guarded = Guarded::start_with(&database, &settings).await;
    let (nobody, reader) =
        (guarded.service.client(), guarded.client(json!({"name": "r", "role": "read"})).await);
    let documents = ["/", "/swagger-ui", "/swagger-ui/", "/swagger-ui/index.css", "/problems/not-found"];
    for path in
        [&documents[..], &["/metrics", "/api-docs/openapi.json", "/openapi.json", "/openapi.yaml"]].concat()
    {
        nobody.get(path).await.problem(401, "unauthorized");
        reader.get(path).await.expect_success();
    }
    for path in ["/health", "/healthz", "/livez", "/ready", "/readyz"] {
        nobody.get(path).await.expect(200);
    }
}

/// API.md: route 404, 401, 405, 403, 413, 415, 400, then what the state says.
#[tokio::test]
async fn several_errors_are_answered_in_a_fixed_order() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let guarded = Guarded::start(&database).await;
    let nobody = guarded.service.client();
    let reader = guarded.client(json!({"name": "r", "role": "read", "tenant": "acme"})).await;
    let writer = guarded.client(json!({"name": "w", "role": "write", "keys": ["k"]})).await;
    nobody.get("/nothing").await.problem(404, "route-not-found");
    nobody.delete("/locks").await.problem(401, "unauthorized");
    reader.delete("/locks").await.problem(405, "method-not-allowed");
    let large = "x".repeat(300_000);
    let put = async |client: &Client, key: &str| {
        let request = client.request(Method::PUT, &format!("/locks/{key}")).body(large.clone());
        client.send(request).await
    };
    put(&reader, "k").await.problem(403, "forbidden");
    put(&writer, "other").await.problem(403, "forbidden");
    put(&writer, "k").await.problem(413, "payload-too-large");
    let text = writer.request(Method::PUT, "/locks/k").body("x");
    writer.send(text).await.problem(415, "unsupported-media-type");
    writer.put("/locks/k", json!({"extra": 1})).await.names_invalid("extra");
}
