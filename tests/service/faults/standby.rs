//! A synchronous standby is away, and an operator cancels a commit that waits for it. The commit has then happened only
//! on this server, and would be lost with it.

use serde_json::json;

use crate::support::{
    Dialect, SOON, Service, eventually, random_version,
    server::OwnServer,
    sql::{self, execute},
};

/// The number of backends that wait for the standby.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
/// Those of them that change tokens.
const TOKEN_WAITS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%db_locks_tokens%'";
const CANCEL: &str = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

/// Makes every commit wait for the standby.
async fn be_synchronous(url: &str) {
    execute(url, "ALTER SYSTEM SET synchronous_standby_names = '*'").await.unwrap();
    execute(url, "SELECT pg_reload_conf()").await.unwrap();
    let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    let is_synchronous = async || (sql::number(url, synchronous).await.unwrap() == 1).then_some(());
    eventually("the standby is synchronous", SOON, is_synchronous).await;
}

/// Guards invariant 3: answered grants survive a failover.
#[tokio::test]
async fn a_grant_that_did_not_reach_its_standby_is_not_answered() {
    let Some(primary) = OwnServer::start(Dialect::Postgres).await else { return };
    let Some(mut standby) = primary.standby().await else { return };
    let url = &primary.database.url;
    let service = Service::start(url).await;
    let svc = service.client();
    be_synchronous(url).await;
    svc.hold("before").await;
    standby.kill();

    let ask = json!({"version": random_version(), "lease_duration_ms": 60_000, "wait_ms": 0});
    let (caller, body) = (svc.clone(), ask.clone());
    let acquire = tokio::spawn(async move { caller.acquire("k", body).await });
    let waits = async || (sql::number(url, WAITING).await.unwrap() > 0).then_some(());
    eventually("the commit waits for the standby", SOON, waits).await;
    execute(url, CANCEL).await.unwrap();
    acquire.await.unwrap().unavailable();
    let committed = "SELECT count(*) FROM locks WHERE key = 'k' AND version IS NOT NULL";
    assert_eq!(sql::number(url, committed).await.unwrap(), 1, "this server has it");
    // The row on this server proves nothing.
    svc.acquire("k", ask.clone()).await.unavailable();
    svc.lock("k").await.unavailable();

    standby.start_again();
    let back = async || {
        let answer = svc.acquire("k", ask.clone()).await;
        (answer.status != 503).then_some(answer)
    };
    let answer = eventually("the service answers again", SOON, back).await;
    // The grant is active or was given back. The standby has received either change.
    assert!([200, 409].contains(&answer.status), "{}", answer.text);
}

/// Otherwise a revoked token would count again after a failover, and one that its owner has would be unknown.
#[tokio::test]
async fn a_change_of_a_token_that_did_not_reach_its_standby_is_not_answered() {
    let Some(primary) = OwnServer::start(Dialect::Postgres).await else { return };
    let Some(mut standby) = primary.standby().await else { return };
    let url = &primary.database.url;
    let service = Service::start(url).await;
    let svc = service.client();
    be_synchronous(url).await;
    let token = |name: &str| json!({"name": name, "role": "read"});
    let made = svc.post("/tokens", token("first")).await.expect(201).body;
    let path = format!("/tokens/{}", made["id"].as_str().unwrap());

    standby.kill();
    let creation = svc.post_aside("/tokens", token("second"));
    cancel_change(url).await;
    creation.await.unwrap().unavailable();
    assert_eq!(
        sql::number(url, "SELECT count(*) FROM db_locks_tokens").await.unwrap(),
        2,
        "this server has it"
    );
    svc.delete(&path).await.unavailable();
    standby.start_again();
    let back = async || (svc.post("/tokens", token("third")).await.status == 201).then_some(());
    eventually("the service makes tokens again", SOON, back).await;

    standby.kill();
    let (caller, revoked) = (svc.clone(), path.clone());
    let revocation = tokio::spawn(async move { caller.delete(&revoked).await });
    cancel_change(url).await;
    revocation.await.unwrap().unavailable();
    let first = "SELECT count(*) FROM db_locks_tokens WHERE name = 'first'";
    assert_eq!(sql::number(url, first).await.unwrap(), 0, "this server has revoked it");
    standby.start_again();
    let back = async || {
        let answer = svc.delete(&path).await;
        (answer.status != 503).then_some(answer)
    };
    eventually("the service answers again", SOON, back).await.expect(404);
}

/// Cancels the commit of a token's change once it waits for the standby.
async fn cancel_change(url: &str) {
    let waits = async || (sql::number(url, TOKEN_WAITS).await.unwrap() > 0).then_some(());
    eventually("the change waits for the standby", SOON, waits).await;
    execute(url, CANCEL).await.unwrap();
}

/// Guards invariant 1: this server may have been cut off, and its standby promoted. Only a write that reaches the
/// standby shows that this did not happen.
#[tokio::test]
async fn a_grant_that_stood_before_is_answered_only_with_a_write_that_reaches_the_standby() {
    let Some(primary) = OwnServer::start(Dialect::Postgres).await else { return };
    let Some(mut standby) = primary.standby().await else { return };
    let url = &primary.database.url;
    let services = [Service::start(url).await, Service::start(url).await];
    let one = services[0].client();
    let two = one.at(services[1].port());
    be_synchronous(url).await;
    let repeat = json!({"version": random_version(), "lease_duration_ms": 60_000, "wait_ms": 0});
    let reenter = json!({"owner": "me", "reentrant": true, "lease_duration_ms": 60_000, "wait_ms": 0});
    for svc in [&one, &two] {
        svc.acquire("k", repeat.clone()).await.grant();
        svc.acquire("l", reenter.clone()).await.grant();
    }
    standby.kill();
    let (repeated, reentered) =
        tokio::join!(one.acquire("k", repeat.clone()), two.acquire("l", reenter.clone()));
    repeated.unavailable();
    reentered.unavailable();
    standby.start_again();
    for (key, ask) in [("k", repeat), ("l", reenter)] {
        let answered = async || {
            let answer = two.acquire(key, ask.clone()).await;
            (answer.status != 503).then_some(answer)
        };
        eventually("the service answers again", SOON, answered).await.grant();
    }
}
