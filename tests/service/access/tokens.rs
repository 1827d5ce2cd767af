//! Bearer tokens: created, used, listed and revoked.

use std::time::Duration;

use serde_json::{Value, json};

use super::{FIRST_ADMIN, Guarded, on_every_database};
use crate::support::{
    Database, Dialect, SOON, Service, TRIES, eventually, expect, service::run_program_with, sql::execute,
    try_until_undisturbed, wire::Call,
};

/// The time after which every replica must refuse a revoked token.
const REVOKED: Duration = Duration::from_secs(2);

on_every_database![with_database:
    a_token_is_made_used_seen_and_revoked,
    a_token_works_at_every_replica_at_once_and_a_revoked_one_at_none_after_2_s,
    an_administrator_creates_sees_and_revokes_only_tokens_within_its_limits,
    a_cursor_shows_no_key_that_the_patterns_do_not_match,
    a_page_of_tokens_ends_after_4_mib,
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

async fn a_token_works_at_every_replica_at_once_and_a_revoked_one_at_none_after_2_s(database: Database) {
    let guarded = Guarded::start(&database).await;
    let other = Guarded::start(&database).await;
    let made = guarded.admin.post("/tokens", json!({"name": "ci", "role": "read"})).await.expect(201).body;
    let [here, there] =
        [&guarded, &other].map(|at| at.service.client().with_token(made["token"].as_str().unwrap()));
    there.get("/locks").await.expect(200);
    here.get("/locks").await.expect(200);
    guarded.admin.delete(&format!("/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
    here.get("/locks").await.problem(401, "unauthorized");
    let revoked = std::time::Instant::now();
    let mut asked_after = revoked.elapsed();
    while there.get("/locks").await.status == 200 {
        assert!(asked_after < REVOKED, "it still counts");
        asked_after = revoked.elapsed();
    }
}

async fn an_administrator_creates_sees_and_revokes_only_tokens_within_its_limits(database: Database) {
    let guarded = Guarded::start(&database).await;
    let ask = json!({"name": "a", "role": "admin", "tenant": "acme", "keys": ["deploy/*"]});
    let acme = guarded.client(ask).await.with_tenant("acme");
    for (ask, status) in [
        (json!({"name": "n", "role": "admin", "keys": ["deploy/web*"]}), 201),
        (json!({"name": "n", "role": "read", "tenant": "acme", "keys": ["deploy/?"]}), 201),
        (json!({"name": "n", "role": "read", "tenant": "other", "keys": ["deploy/?"]}), 403),
        (json!({"name": "n", "role": "read"}), 403),
        (json!({"name": "n", "role": "read", "keys": ["*"]}), 403),
    ] {
        let made = acme.post("/tokens", ask).await.expect(status);
        assert!(status == 403 || made.body["tenant"] == "acme");
    }
    let foreign =
        guarded.admin.post("/tokens", json!({"name": "all", "role": "read"})).await.expect(201).body;
    acme.delete(&format!("/tokens/{}", foreign["id"].as_str().unwrap())).await.problem(404, "not-found");
    let seen = acme.get("/tokens").await.expect(200).body["items"].as_array().unwrap().len();
    assert_eq!(seen, 3, "its own and the two that it made");
    let all = guarded.admin.get("/tokens?limit=3").await.expect(200).body;
    let next = all["next_cursor"].as_str().unwrap();
    let rest = guarded.admin.get(&format!("/tokens?limit=3&cursor={next}")).await.expect(200).body;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Value::Null));
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

/// Guards the memory: the patterns of a thousand tokens may take many bytes.
async fn a_page_of_tokens_ends_after_4_mib(database: Database) {
    let guarded = Guarded::start(&database).await;
    let pattern = "😀".repeat(512);
    let longest =
        |count| json!({"name": "n", "role": "read", "tenant": "acme", "keys": vec![&pattern; count]});
    guarded.admin.post("/tokens", longest(9)).await.problem(400, "invalid-request");
    for _ in 0..270 {
        guarded.admin.post("/tokens", longest(8)).await.expect(201);
    }
    let page = guarded.admin.get("/tokens?limit=1000").await.expect(200).body;
    let items = page["items"].as_array().unwrap().len();
    assert!((240..260).contains(&items), "{items} items");
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = guarded.admin.get(&format!("/tokens?limit=1000&cursor={cursor}")).await.expect(200).body;
    assert_eq!((items + rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (270, &Value::Null));
}

/// Guards the database against a tenant's administrator that creates tokens without end.
#[tokio::test]
async fn a_tenants_administrator_makes_at_most_10000_tokens() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let guarded = Guarded::start(&database).await;
    let acme =
        guarded.client(json!({"name": "a", "role": "admin", "tenant": "acme"})).await.with_tenant("acme");
    let make = || acme.post("/tokens", json!({"name": "n", "role": "read"}));
    let copies = |count| {
        format!(
            "INSERT INTO db_locks_tokens (id, hash, name, tenant, role, created_at_ms)
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
             SELECT randomblob(16), randomblob(32), 'n', 'acme', 'read', 0 FROM n"
        )
    };
    execute(&database.url, &copies(9_998)).await.unwrap();
    make().await.expect(201);
    let refused = make().await;
    refused.problem(403, "forbidden");
    assert!(refused.body["detail"].as_str().unwrap().contains("10000 tokens"), "{}", refused.body);
    guarded.admin.post("/tokens", json!({"name": "n", "role": "read", "tenant": "acme"})).await.expect(201);
}

/// A waiter whose token was revoked meanwhile gets no grant: the lock is free for others.
#[tokio::test]
async fn a_waiting_acquire_whose_token_was_revoked_is_not_granted() {
    let guarded = Guarded::start(&Dialect::Sqlite.database().await.unwrap()).await;
    let admin = guarded.admin.with_tenant("acme");
    let ask = json!({"name": "ci", "role": "write", "tenant": "acme"});
    let made = guarded.admin.post("/tokens", ask).await.expect(201).body;
    let ci = guarded.service.client().with_tenant("acme").with_token(made["token"].as_str().unwrap());
    let held = admin.hold("k").await;
    let version = "11111111-1111-4111-8111-111111111111";
    let ask = [json!({"wait_ms": 30_000}), json!({"wait_ms": 30_000, "version": version})];
    let waiting = ask.map(|ask| ci.post_aside("/locks/k/acquire", ask));
    admin.until_waiters("/locks/k", 2).await;
    guarded.admin.delete(&format!("/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
    tokio::time::sleep(REVOKED).await;
    admin.release("k", &held.version).await.unheld(200);
    for waiting in waiting {
        waiting.await.unwrap().problem(401, "unauthorized");
    }
    // Not even the one with a version of its own choice is kept for a repeat.
    admin.until_free("k", Duration::from_secs(5)).await;
}

/// Guards that an ended credential ends, however slowly the bodies of its requests arrive: an administrator could have created its
/// own successor.
#[tokio::test]
async fn a_request_whose_body_ends_after_its_token_was_revoked_is_refused() {
    let guarded = Guarded::start(&Dialect::Sqlite.database().await.unwrap()).await;
    let ask = json!({"name": "a", "role": "admin", "tenant": "acme"});
    let made = guarded.admin.post("/tokens", ask).await.expect(201).body;
    let (svc, token) = (guarded.service.client().with_tenant("acme"), made["token"].as_str().unwrap());
    let mut begun = Vec::new();
    for (method, path, body) in [
        ("POST", "/tokens", json!({"name": "b", "role": "admin"})),
        ("PUT", "/locks/k", json!({"data": "x"})),
        ("POST", "/locks/k/acquire", json!({"wait_ms": 0})),
        ("LOCK", "/terraform/k", json!({"ID": "a"})),
    ] {
        begun.push(Call::begin(&svc, token, method, path, &body).await);
    }
    guarded.admin.delete(&format!("/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
    tokio::time::sleep(REVOKED).await;
    for mut call in begun {
        call.send_more(b"}").await;
        call.answer().await.problem(401, "unauthorized");
    }
    guarded.admin.with_tenant("acme").lock("k").await.expect(404);
}

/// The limit applies to each credential. Heartbeats and releases are never refused.
#[tokio::test]
async fn a_credential_that_asks_too_often_is_answered_429() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let settings = [("DB_LOCKS_MAX_REQUESTS_PER_SECOND", "5")];
    let guarded = Guarded::start_with(&database, &settings).await;
    let [one, other] = [
        guarded.client(json!({"name": "one", "role": "write"})).await,
        guarded.client(json!({"name": "other", "role": "write"})).await,
    ];
    let grant = one.hold("k").await;
    let refused = eventually("it is refused", SOON, async || {
        let answer = one.lock("k").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    refused.problem(429, "too-many-requests");
    assert_eq!(refused.retry_after(), 1);
    for _ in 0..10 {
        one.heartbeat("k", &grant.version).await.grant();
    }
    other.get("/locks").await.expect(200);
    one.release("k", &grant.version).await.unheld(200);
    eventually("it may ask again", SOON, async || (one.lock("k").await.status == 200).then_some(())).await;
}

/// Otherwise a credential for an hour could administer forever. Tokens that only lock may be valid for longer: deployments create such tokens.
#[tokio::test]
async fn no_administrator_creates_another_that_outlives_it() {
    let guarded = Guarded::start(&Dialect::Sqlite.database().await.unwrap()).await;
    let end = "2098-12-31T23:00:00.000Z";
    let acme =
        guarded.client(json!({"name": "a", "role": "admin", "tenant": "acme", "expires_at": end})).await;
    for (role, expires_at, status) in [
        ("admin", json!(end), 201),
        ("admin", json!("2098-12-31T23:00:00.001Z"), 403),
        ("admin", json!(null), 403),
        ("write", json!("2099-12-31T23:00:00.000Z"), 201),
        ("read", json!(null), 201),
    ] {
        let ask = json!({"name": "n", "role": role, "tenant": "acme", "expires_at": expires_at});
        let made = acme.with_tenant("acme").post("/tokens", ask).await.expect(status);
        assert!(status == 201 || made.body["detail"].as_str().unwrap().contains(end), "{}", made.body);
    }
    guarded.admin.post("/tokens", json!({"name": "n", "role": "admin"})).await.expect(201);
}

/// Otherwise a credential that may only read could ask without end.
#[tokio::test]
async fn refusals_for_the_role_count_against_the_limit() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let settings = [("DB_LOCKS_MAX_REQUESTS_PER_SECOND", "1")];
    let guarded = Guarded::start_with(&database, &settings).await;
    let reader = guarded.client(json!({"name": "reader", "role": "read"})).await;
    reader.acquire("k", json!({})).await.problem(403, "forbidden");
    eventually("the limit is reached", SOON, async || {
        (reader.acquire("k", json!({})).await.status == 429).then_some(())
    })
    .await;
    reader.heartbeat("k", "0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42").await.problem(403, "forbidden");
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

#[tokio::test]
async fn an_expired_token_is_refused() {
    let guarded = Guarded::start(&Dialect::Sqlite.database().await.unwrap()).await;
    // On a busy machine it may expire before it is used.
    let mut lasts = [2, 4, 8].into_iter();
    try_until_undisturbed(TRIES, async || {
        let then = format!("+{} seconds", lasts.next().unwrap());
        let soon =
            std::process::Command::new("date").args(["-u", "-d", &then, "+%FT%T.%3NZ"]).output().unwrap();
        let soon = String::from_utf8(soon.stdout).unwrap();
        let brief = guarded.client(json!({"name": "n", "role": "read", "expires_at": soon.trim()})).await;
        let used = brief.get("/locks").await;
        expect(used.status == 200, || used.text)?;
        eventually("it expires", SOON, async || (brief.get("/locks").await.status == 401).then_some(()))
            .await;
        Ok(())
    })
    .await;
}

/// The secret of the first administrator is read again when its file changes. It ends when the file is invalid or removed.
#[tokio::test]
async fn the_first_administrator_has_the_secret_of_the_file() {
    let guarded = Guarded::start(&Dialect::Sqlite.database().await.unwrap()).await;
    std::fs::write(&guarded.secret_file, "short").unwrap();
    eventually("it is nobody's", SOON, async || {
        (guarded.admin.get("/tokens").await.status == 401).then_some(())
    })
    .await;
    let path = guarded.secret_file.display().to_string();
    let log = eventually("the log says why", SOON, async || {
        let log = guarded.service.log();
        log.contains("no longer counts").then_some(log)
    })
    .await;
    let reasons: Vec<_> = log.lines().filter(|line| line.contains("32 characters")).collect();
    assert!(reasons.len() == 1 && reasons[0].contains("WARN") && reasons[0].contains(&path), "{log}");
    let new = "another-administrator-of-all-the-tenants";
    std::fs::write(&guarded.secret_file, new).unwrap();
    let new = guarded.admin.with_token(new);
    eventually("the new one counts", SOON, async || (new.get("/tokens").await.status == 200).then_some(()))
        .await;
    guarded.admin.get("/tokens").await.problem(401, "unauthorized");
    std::fs::remove_file(&guarded.secret_file).unwrap();
    eventually("nobody is", SOON, async || (new.get("/tokens").await.status == 401).then_some(())).await;
    std::fs::write(&guarded.secret_file, FIRST_ADMIN).unwrap();
    eventually("one is again", SOON, async || {
        (guarded.admin.get("/tokens").await.status == 200).then_some(())
    })
    .await;
    assert!(!guarded.service.log().contains(FIRST_ADMIN));
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
