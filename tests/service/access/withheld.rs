//! Grants that are withheld because a credential was revoked while its requests waited.

use std::time::Duration;

use reqwest::Method;
use sea_orm::ConnectionTrait;
use serde_json::json;

use super::{Guarded, on_every_database};
use crate::support::{Database, Dialect, SOON, eventually, sql};

/// The time after which every replica must refuse a revoked token.
const REVOKED: Duration = Duration::from_secs(2);

on_every_database![with_database:
    a_lock_for_which_reentrant_requests_of_a_revoked_token_wait_is_free_for_others_at_once,
];

/// All requests are answered with one grant, which nobody knows. One of them waits at another replica.
async fn a_lock_for_which_reentrant_requests_of_a_revoked_token_wait_is_free_for_others_at_once(
    database: Database,
) {
    let (here, there) = (Guarded::start(&database).await, Guarded::start(&database).await);
    let admin = here.admin.with_tenant("acme");
    let ask = json!({"name": "ci", "role": "write", "tenant": "acme"});
    let made = here.admin.post("/tokens", ask).await.expect(201).body;
    let held = admin.hold("k").await;
    let mut waiting = Vec::new();
    for (count, at) in [&here, &there, &here].into_iter().enumerate() {
        let ci = at.service.client().with_tenant("acme").with_token(made["token"].as_str().unwrap());
        let ask = json!({"owner": "o", "reentrant": true, "wait_ms": 60_000, "lease_duration_ms": 600_000});
        waiting.push(ci.post_aside("/locks/k/acquire", ask));
        admin.until_waiters("/locks/k", i64::try_from(count).unwrap() + 1).await;
    }
    here.admin.delete(&format!("/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
    tokio::time::sleep(REVOKED).await;
    admin.release("k", &held.version).await.unheld(200);
    let other = there.admin.with_tenant("acme");
    eventually("another owner is granted the lock", SOON, async || {
        (other.acquire("k", json!({"wait_ms": 0})).await.status == 200).then_some(())
    })
    .await;
    for waiting in waiting {
        waiting.await.unwrap().problem(401, "unauthorized");
    }
}

/// Guards that a grant which came late for any reason is withheld. Here another session of the database keeps the row locked.
#[tokio::test]
async fn a_state_is_not_locked_for_a_token_that_was_revoked_meanwhile() {
    let Some(database) = Dialect::Postgres.database().await else { return };
    let guarded = Guarded::start(&database).await;
    let admin = guarded.admin.with_tenant("acme");
    let made = guarded
        .admin
        .post("/tokens", json!({"name": "ci", "role": "write", "tenant": "acme"}))
        .await
        .expect(201)
        .body;
    let ci = guarded.service.client().with_tenant("acme").with_token(made["token"].as_str().unwrap());
    admin.put("/locks/k", json!({})).await.expect(201);
    let session = sql::connect(&database.url).await.unwrap();
    session.execute_unprepared("BEGIN").await.unwrap();
    session.execute_unprepared("UPDATE locks SET kind = kind WHERE tenant = 'acme'").await.unwrap();
    let lock = ci.request(Method::from_bytes(b"LOCK").unwrap(), "/terraform/k").json(&json!({"ID": "a"}));
    let waiting = tokio::spawn(async move { ci.send(lock).await });
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let waits = async || (sql::number(&database.url, blocked).await.unwrap() > 0).then_some(());
    eventually("the commit waits for the row", SOON, waits).await;
    guarded.admin.delete(&format!("/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
    tokio::time::sleep(REVOKED).await;
    session.execute_unprepared("ROLLBACK").await.unwrap();
    waiting.await.unwrap().problem(401, "unauthorized");
    admin.until_free("k", SOON).await;
}
