//! Limits of tokens: their number, the length of their lists, and the requests in a second.

use serde_json::{Value, json};

use crate::{
    access::{Guarded, on_every_database},
    support::{Database, Dialect, SOON, eventually, sql::execute},
};

on_every_database![with_database:
    a_page_of_tokens_ends_after_4_mib,
];

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
