//! The database is away for a while.

use std::time::{Duration, Instant};

use serde_json::json;

use super::proxy::Proxy;
use crate::access::Guarded;
use crate::support::{Client, Database, SOON, Service, eventually};

on_every_server![
    while_the_database_is_away_the_service_says_so_and_then_goes_on,
    waiters_outlast_the_databases_absence,
    a_cut_of_all_connections_is_not_noticed_by_callers_for_long,
    tokens_cannot_be_checked_without_the_database,
];

/// Longer than a replica may be unseen before it is declared dead.
const ABSENCE: Duration = Duration::from_secs(10);

/// Guards invariant 3: a grant outlasts the outage. Answers reveal nothing about the database.
async fn while_the_database_is_away_the_service_says_so_and_then_goes_on(database: Database) {
    let proxy = Proxy::before(&database).await;
    let service = Service::start(&database.through_port(proxy.port())).await;
    let svc = service.client();
    let held = svc.hold("k").await;
    proxy.take_away();
    let begin = Instant::now();
    let down = async || (svc.get("/ready").await.status == 503).then_some(());
    eventually("the service is not ready", SOON, down).await;
    for answer in [
        svc.acquire("other", json!({"wait_ms": 0})).await,
        svc.heartbeat("k", &held.version).await,
        svc.lock("k").await,
        svc.get("/locks").await,
    ] {
        answer.unavailable_because("database");
        let text = answer.text.to_lowercase();
        for inside in ["sql", "postgres", "maria", "127.0.0.1", "connection refused", "panicked", "pool"] {
            assert!(!text.contains(inside), "{inside} in {text}");
        }
    }
    svc.get("/health").await.expect(200);
    svc.get("/metrics").await.expect(200);
    tokio::time::sleep(ABSENCE.saturating_sub(begin.elapsed())).await;
    proxy.bring_back();
    let up = async || (svc.get("/ready").await.status == 200).then_some(());
    eventually("the service is ready again", SOON, up).await;
    assert_eq!(svc.heartbeat("k", &held.version).await.grant().token, held.token);
    svc.hold("other").await;
}

/// Guards invariants 5, 6 and 7: in an outage no replica declares the other dead, and no waiter loses its place.
async fn waiters_outlast_the_databases_absence(database: Database) {
    let proxy = Proxy::before(&database).await;
    let url = database.through_port(proxy.port());
    let replicas = [Service::start(&url).await, Service::start(&url).await];
    let first = replicas[0].client();
    let clients = [first.clone(), first.at(replicas[1].port())];
    let held = first.acquire("k", json!({"lease_duration_ms": 120_000})).await.grant();
    let mut waiting = Vec::new();
    for place in 1..=4 {
        let ask = json!({"wait_ms": 50_000, "lease_duration_ms": 60_000});
        let client = &clients[usize::try_from(place).unwrap() % 2];
        waiting.push(client.queue_up("k", ask, place).await);
    }
    proxy.take_away();
    tokio::time::sleep(ABSENCE).await;
    proxy.bring_back();
    for client in &clients {
        let back = async || (client.lock("k").await.status == 200).then_some(());
        eventually("the replica is back", SOON, back).await;
    }
    // Longer than it takes to reap a replica that is declared dead.
    watch(&clients[0], Duration::from_secs(4)).await;
    first.release("k", &held.version).await.unheld(200);
    let mut last = held.token;
    for task in waiting {
        let grant = task.await.unwrap().grant();
        assert!(grant.token > last, "in order");
        last = grant.token;
        first.release("k", &grant.version).await.unheld(200);
    }
}

/// Checks that all four keep waiting for this time.
async fn watch(svc: &Client, long: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < long {
        assert_eq!(svc.lock("k").await.grant().body["waiters"], 4);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn a_cut_of_all_connections_is_not_noticed_by_callers_for_long(database: Database) {
    let proxy = Proxy::before(&database).await;
    let service = Service::start(&database.through_port(proxy.port())).await;
    let svc = service.client();
    for round in 0..5 {
        let key = format!("k{round}");
        let held = svc.hold(&key).await;
        let waiting = svc.queue_up(&key, json!({"wait_ms": 30_000}), 1).await;
        proxy.cut_all();
        let release = async || (svc.release(&key, &held.version).await.status != 503).then_some(());
        eventually("the release is answered", SOON, release).await;
        assert!(waiting.await.unwrap().grant().token > held.token);
    }
}

/// An outage is no reason to refuse a token: the client would give up for good.
async fn tokens_cannot_be_checked_without_the_database(mut database: Database) {
    let proxy = Proxy::before(&database).await;
    database.url = database.through_port(proxy.port());
    let guarded = Guarded::start(&database).await;
    let known = guarded.client(json!({"name": "ci", "role": "write"})).await;
    let unknown = guarded.service.client().with_token(&format!("dbl_{}", "x".repeat(43)));
    known.get("/locks").await.expect(200);
    unknown.get("/locks").await.problem(401, "unauthorized");
    proxy.take_away();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    for client in [&known, &unknown] {
        client.get("/locks").await.unavailable_because("database");
        client.acquire("k", json!({"wait_ms": 0})).await.unavailable_because("database");
    }
    guarded.service.client().get("/locks").await.problem(401, "unauthorized");
    proxy.bring_back();
    let known_again = async || (known.get("/locks").await.status == 200).then_some(());
    eventually("the token counts again", SOON, known_again).await;
    unknown.get("/locks").await.problem(401, "unauthorized");
}
