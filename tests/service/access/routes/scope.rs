//! What a credential may use and see: its tenant, its keys, and the versions of its own grants.

use serde_json::{Value, json};

use super::{May, routes};
use crate::{
    access::{Guarded, on_every_database},
    support::{Database, Dialect},
};

on_every_database![with_database:
    a_cursor_shows_no_key_that_the_patterns_do_not_match,
];

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

async fn a_cursor_shows_no_key_that_the_patterns_do_not_match(database: Database) {
    let guarded = Guarded::start(&database).await;
    let admin = guarded.admin.with_tenant("acme");
    for key in ["a%2F1", "payroll", "z%2F1"] {
        admin.hold(key).await;
    }
    let ask = json!({"name": "reader", "role": "read", "tenant": "acme", "keys": ["a/*", "z/*"]});
    let reader = guarded.client(ask).await.with_tenant("acme");
    let first = reader.get("/locks?limit=1").await.expect(200).body;
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!((&first["items"][0]["key"], cursor), (&json!("a/1"), hex("a/1").as_str()));
    let second = reader.get(&format!("/locks?limit=1&cursor={cursor}")).await.expect(200).body;
    assert_eq!((&second["items"][0]["key"], &second["next_cursor"]), (&json!("z/1"), &Value::Null));
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
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
