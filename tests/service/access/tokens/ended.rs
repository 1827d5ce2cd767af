//! Tokens that were revoked or have expired.

use std::time::Duration;

use serde_json::json;

use super::REVOKED;
use crate::{
    access::{Guarded, on_every_database},
    support::{Database, Dialect, SOON, TRIES, eventually, expect, try_until_undisturbed, wire::Call},
};

on_every_database![with_database:
    a_token_works_at_every_replica_at_once_and_a_revoked_one_at_none_after_2_s,
];

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
