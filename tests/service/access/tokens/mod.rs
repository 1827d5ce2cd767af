//! Bearer tokens: made, used, seen and revoked.

mod administrators;
mod ended;
mod limits;

use std::time::Duration;

use serde_json::{Value, json};

use super::{FIRST_ADMIN, Guarded, on_every_database};
use crate::support::{Database, Dialect, SOON, Service, eventually, service::run_program_with};

/// The time after which every replica must refuse a revoked token.
const REVOKED: Duration = Duration::from_secs(2);

on_every_database![with_database:
    a_token_is_made_used_seen_and_revoked,
];

async fn a_token_is_made_used_seen_and_revoked(database: Database) {
    let guarded = Guarded::start(&database).await;
    let admin = &guarded.admin;
    let ask = json!({"name": "ci", "role": "write", "keys": ["deploy/*"], "expires_at": "2099-01-01T00:00:00+01:00"});
    let made = admin.post("/tokens", ask).await.expect(201).body;
    assert_eq!(made["expires_at"], "2098-12-31T23:00:00.000Z");
    assert_eq!((&made["tenant"], &made["last_used_at"]), (&Value::Null, &Value::Null));
    let ci = guarded.service.client().with_token(made["token"].as_str().unwrap());
    ci.hold("deploy%2Fweb").await;
    ci.acquire("other", json!({})).await.problem(403, "forbidden");
    eventually("its use is noted", SOON, async || {
        let list = admin.get("/tokens").await.expect(200).body;
        assert_eq!(list["items"][0]["name"], "ci");
        assert!(list["items"][0].get("token").is_none(), "{list}");
        list["items"][0]["last_used_at"].is_string().then_some(())
    })
    .await;
    let id = made["id"].as_str().unwrap();
    admin.delete(&format!("/tokens/{id}")).await.expect(204);
    admin.delete(&format!("/tokens/{id}")).await.problem(404, "not-found");
    let refused = ci.lock("deploy%2Fweb").await;
    refused.problem(401, "unauthorized");
    assert_eq!(refused.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    let missing = guarded.service.client().lock("k").await;
    missing.problem(401, "unauthorized");
    assert_eq!(missing.header("www-authenticate"), "Bearer");
}

#[tokio::test]
async fn errors_of_a_new_token_are_named_field_by_field() {
    let guarded = Guarded::start(&Dialect::Sqlite.database().await.unwrap()).await;
    for (field, ask) in [
        ("name", json!({"role": "read"})),
        ("role", json!({"name": "n"})),
        ("role", json!({"name": "n", "role": "root"})),
        ("tenant", json!({"name": "n", "role": "read", "tenant": "a b"})),
        ("keys", json!({"name": "n", "role": "read", "keys": []})),
        ("keys", json!({"name": "n", "role": "read", "keys": "a"})),
        ("keys", json!({"name": "n", "role": "read", "keys": ["a\\"]})),
        ("expires_at", json!({"name": "n", "role": "read", "expires_at": "tomorrow"})),
        ("expires_at", json!({"name": "n", "role": "read", "expires_at": "2020-01-01T00:00:00Z"})),
        ("secret", json!({"name": "n", "role": "read", "secret": "x"})),
    ] {
        guarded.admin.post("/tokens", ask).await.names_invalid(field);
    }
}

/// Tokens are created, listed and revoked directly on the database, whether or not a service runs.
#[tokio::test]
async fn tokens_are_made_by_hand() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let run = async |arguments: &[&str]| {
        let output = run_program_with(&database.url, &[], arguments).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let made =
        run(&["token", "create", "ci", "--role", "write", "--tenant", "acme", "--key", "deploy/*", "--json"])
            .await;
    let made: Value = serde_json::from_str(&made).unwrap();
    let service = Service::start_with(&database.url, &[("DB_LOCKS_AUTH", "required")]).await;
    let ci = service.client().with_tenant("acme").with_token(made["token"].as_str().unwrap());
    ci.hold("deploy%2Fa").await;
    let secret = run(&["token", "create", "--name", "reader", "--role", "read"]).await;
    assert_eq!(secret.lines().count(), 1, "the secret alone: {secret}");
    service.client().with_token(secret.trim()).get("/locks").await.expect(200);
    let list = run(&["token", "list"]).await;
    assert!(list.starts_with("ID ") && list.contains("deploy/*") && !list.contains(secret.trim()), "{list}");
    let id = made["id"].as_str().unwrap();
    run(&["token", "revoke", id]).await;
    assert!(!run(&["token", "list", "--json"]).await.contains(id));
    eventually("it is revoked", REVOKED, async || (ci.lock("deploy%2Fa").await.status == 401).then_some(()))
        .await;
}

/// The commands send `DB_LOCKS_TOKEN`, and exit with 77 if it is missing or does not allow the request.
#[tokio::test]
async fn commands_send_the_token() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let guarded = Guarded::start(&database).await;
    let url = format!("http://127.0.0.1:{}", guarded.service.port());
    let reader = guarded.token(json!({"name": "r", "role": "read"})).await;
    let run = async |token: &str, arguments: &[&str]| {
        let settings = [("DB_LOCKS_URL", url.as_str()), ("DB_LOCKS_TOKEN", token)];
        run_program_with(&database.url, &settings, arguments).await.status.code()
    };
    for arguments in
        [&["run", "k", "--", "true"][..], &["acquire", "k"], &["semaphore", "put", "s", "--max-size", "1"]]
    {
        assert_eq!(run("", arguments).await, Some(77), "{arguments:?}");
        assert_eq!(run(&reader, arguments).await, Some(77), "{arguments:?}");
        assert_eq!(run(FIRST_ADMIN, arguments).await, Some(0), "{arguments:?}");
    }
    assert_eq!(run(&reader, &["get", "k"]).await, Some(0));
    assert_eq!(run("", &["health"]).await, Some(0), "it is open");
}
