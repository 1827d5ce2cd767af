//! Every route, with every credential. A route that is not in the table fails.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::Guarded;
use crate::support::{Client, Dialect};

/// The callers that may use a route.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum May {
    Everybody,
    Read,
    Write,
    Admin,
}

/// An operation of the document, with a path for which a request makes sense. Its answer does not matter.
struct Route {
    id: &'static str,
    method: Method,
    path: &'static str,
    body: Option<Value>,
    may: May,
}

const VERSION: &str = "0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42";

fn routes() -> Vec<Route> {
    let route = |id, method, path, body, may| Route { id, method, path, body, may };
    let version = || Some(json!({"version": VERSION}));
    let acquire = || Some(json!({"wait_ms": 0}));
    let forced = Some(json!({"force": true, "reason": "stuck"}));
    let forced_permit = Some(json!({"force": true, "version": VERSION}));
    let token = Some(json!({"name": "n", "role": "read"}));
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    vec![
        route("acquire_lock", post.clone(), "/locks/{key}/acquire", acquire(), May::Write),
        route("heartbeat_lock", post.clone(), "/locks/{key}/heartbeat", version(), May::Write),
        route("release_lock", post.clone(), "/locks/{key}/release", version(), May::Write),
        route("release_lock", post.clone(), "/locks/{key}/release", forced, May::Admin),
        route("get_lock", get.clone(), "/locks/{key}", None, May::Read),
        route("put_lock", put.clone(), "/locks/{key}", Some(json!({})), May::Write),
        route("delete_lock", delete.clone(), "/locks/{key}", None, May::Write),
        route("list_locks", get.clone(), "/locks", None, May::Read),
        route("acquire_permit", post.clone(), "/semaphores/{key}/acquire", acquire(), May::Write),
        route("heartbeat_permit", post.clone(), "/semaphores/{key}/heartbeat", version(), May::Write),
        route("release_permit", post.clone(), "/semaphores/{key}/release", version(), May::Write),
        route("release_permit", post.clone(), "/semaphores/{key}/release", forced_permit, May::Admin),
        route("get_semaphore", get.clone(), "/semaphores/{key}", None, May::Read),
        route("put_semaphore", put, "/semaphores/{key}", Some(json!({"max_size": 1})), May::Write),
        route("delete_semaphore", delete.clone(), "/semaphores/{key}", None, May::Write),
        route("list_permits", get.clone(), "/semaphores/{key}/permits", None, May::Read),
        route("list_semaphores", get.clone(), "/semaphores", None, May::Read),
        route("lock_state", post.clone(), "/terraform/{key}", Some(json!({"ID": "a"})), May::Write),
        route("unlock_state", delete.clone(), "/terraform/{key}", Some(json!({"ID": "a"})), May::Write),
        route("unlock_state", delete.clone(), "/terraform/{key}", None, May::Admin),
        route("create_token", post, "/tokens", token, May::Admin),
        route("list_tokens", get.clone(), "/tokens", None, May::Admin),
        route("revoke_token", delete, "/tokens/0199a3c0-5f0e-7c1d-9a57-3f1f6a1c7d42", None, May::Admin),
        route("get_health", get.clone(), "/health", None, May::Everybody),
        route("get_ready", get.clone(), "/ready", None, May::Everybody),
        route("get_metrics", get.clone(), "/metrics", None, May::Everybody),
        route("get_openapi", get.clone(), "/api-docs/openapi.json", None, May::Everybody),
        route("get_problem", get, "/problems/not-found", None, May::Everybody),
    ]
}

impl Route {
    /// Sends a request for a key of the caller's own and returns the answer.
    async fn ask(&self, caller: &Client, key: &str) -> crate::support::Answer {
        let request = caller.request(self.method.clone(), &self.path.replace("{key}", key));
        caller
            .send(match &self.body {
                Some(body) => request.json(body),
                None => request,
            })
            .await
    }

    fn name(&self) -> String {
        format!("{} {} {:?}", self.method, self.path, self.body)
    }
}

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

/// A foreign tenant is answered 403, whether or not it exists. Without the header the credential's own tenant is used.
#[tokio::test]
async fn a_credential_acts_for_its_own_tenant() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let guarded = Guarded::start(&database).await;
    guarded.admin.with_tenant("rich").hold("k").await;
    let acme = guarded.client(json!({"name": "n", "role": "admin", "tenant": "acme"})).await;
    for route in routes().into_iter().filter(|route| route.may > May::Everybody) {
        for tenant in ["rich", "poor", "a b"] {
            let answer = route.ask(&acme.with_tenant(tenant), "k").await;
            assert_eq!(answer.status, 403, "{tenant} {} {}", route.name(), answer.text);
        }
        let own = route.ask(&acme.with_tenant("acme"), "absent").await;
        assert_ne!(own.status, 403, "{} {}", route.name(), own.text);
    }
    let url = format!("http://127.0.0.1:{}/locks/k", guarded.service.port());
    let ask = async |key: &str| {
        let request = reqwest::Client::new().get(url.replace("/k", key));
        let token = acme.token().unwrap();
        request.bearer_auth(token).send().await.unwrap()
    };
    assert_eq!(ask("/k").await.status(), 404, "the key of another tenant is none of its own");
    acme.with_tenant("acme").hold("mine").await;
    let mine: Value = serde_json::from_str(&ask("/mine").await.text().await.unwrap()).unwrap();
    assert_eq!(mine["tenant"], "acme");
}

#[tokio::test]
async fn key_patterns_hold_on_every_route_and_in_lists() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let guarded = Guarded::start(&database).await;
    let admin = guarded.admin.with_tenant("acme");
    for key in ["deploy%2Fa", "deploy%2Fb", "deploz", "x"] {
        admin.hold(key).await;
        admin.put(&format!("/semaphores/s-{key}"), json!({"max_size": 1})).await.expect(201);
    }
    let deploy =
        guarded.client(json!({"name": "n", "role": "admin", "keys": ["deploy/*", "s-deploy/b"]})).await;
    let deploy = deploy.with_tenant("acme");
    for route in routes().into_iter().filter(|route| route.path.contains("{key}")) {
        let answer = route.ask(&deploy, "x").await;
        assert_eq!(answer.status, 403, "{} {}", route.name(), answer.text);
        let answer = route.ask(&deploy, "deploy%2Fz").await;
        assert_ne!(answer.status, 403, "{} {}", route.name(), answer.text);
    }
    let keys = async |path: &str| {
        let list = deploy.get(path).await.expect(200).body;
        let keys =
            list["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_owned());
        (keys.collect::<Vec<_>>(), list["next_cursor"].clone())
    };
    let (locks, _) = keys("/locks?locked=true").await;
    assert_eq!(locks, ["deploy/a", "deploy/b"]);
    let (first, next) = keys("/locks?locked=true&limit=1").await;
    assert_eq!(first, ["deploy/a"]);
    let (rest, next) = keys(&format!("/locks?locked=true&limit=1&cursor={}", next.as_str().unwrap())).await;
    assert_eq!((rest, next), (vec!["deploy/b".to_owned()], Value::Null));
    assert_eq!(keys("/semaphores?prefix=s-").await.0, ["s-deploy/b"]);
}

/// Guards invariant 4: a version is the right to release.
#[tokio::test]
async fn a_version_is_shown_to_its_own_credential_and_to_administrators() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let guarded = Guarded::start(&database).await;
    let client =
        async |role: &str| guarded.client(json!({"name": role, "role": role})).await.with_tenant("acme");
    let (reader, writer, other) = (client("read").await, client("write").await, client("write").await);
    let admin = client("admin").await;
    let ask = json!({"owner": "ci", "lease_duration_ms": 60_000});
    let grant = writer.acquire("k", ask.clone()).await.grant();
    admin.put("/semaphores/s", json!({"max_size": 1})).await.expect(201);
    let permit = writer.post("/semaphores/s/acquire", ask).await.grant();
    for (caller, sees) in [(&reader, false), (&other, false), (&writer, true), (&admin, true)] {
        let shown = |version: &str| if sees { Value::from(version) } else { Value::Null };
        let lock = caller.lock("k").await.expect(200).body;
        assert_eq!((&lock["owner"], &lock["version"]), (&json!("ci"), &shown(&grant.version)));
        let list = caller.get("/locks?owner=ci").await.expect(200).body;
        assert_eq!(list["items"][0]["version"], shown(&grant.version));
        let permits = caller.get("/semaphores/s/permits").await.expect(200).body;
        assert_eq!(permits["items"][0]["version"], shown(&permit.version));
    }
    let again = json!({"owner": "ci", "version": grant.version, "wait_ms": 0});
    assert_eq!(writer.acquire("k", again.clone()).await.grant().version, grant.version);
    other.acquire("k", again).await.problem(409, "version-mismatch");
    let reentrant = json!({"owner": "ci", "reentrant": true, "wait_ms": 0});
    assert_eq!(writer.acquire("k", reentrant.clone()).await.grant().version, grant.version);
    other.acquire("k", reentrant).await.not_granted("no_wait");
    other.heartbeat("k", &grant.version).await.grant();
    other.release("k", &grant.version).await.unheld(200);
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
