//! What administrators may do with tokens, and who is the first one.

use serde_json::{Value, json};

use crate::{
    access::{FIRST_ADMIN, Guarded, on_every_database},
    support::{Database, Dialect, SOON, eventually},
};

on_every_database![with_database:
    an_administrator_creates_sees_and_revokes_only_tokens_within_its_limits,
];

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
