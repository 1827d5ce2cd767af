//! A firewall forgets the connections to the database: they accept bytes and never answer, without an error.

use std::time::{Duration, Instant};

use serde_json::json;

use super::proxy::Proxy;
use crate::support::{Client, Database, Grant, Service, TRIES, expect, try_until_undisturbed};

on_every_server![connections_that_swallow_everything_cost_no_holder_its_lock];

/// The longest time for which a caller waits, and for which the service does not work.
const BACK_WITHIN: Duration = Duration::from_secs(5);

fn key(number: usize) -> String {
    format!("k{number}")
}

/// Guards invariant 4: a holder that sends heartbeats in time keeps the lock. All connections are dead at once, and
/// requests try each of them.
async fn connections_that_swallow_everything_cost_no_holder_its_lock(database: Database) {
    let proxy = Proxy::before(&database).await;
    let service = Service::start(&database.through_port(proxy.port())).await;
    let svc = service.client();
    let mut held = Vec::new();
    for number in 0..8 {
        held.push(svc.hold(&key(number)).await);
    }
    try_until_undisturbed(TRIES, async || {
        proxy.freeze();
        is_back_soon(&svc, &held).await
    })
    .await;
}

/// Renews all locks at once, and again when the first requests have been answered.
async fn is_back_soon(svc: &Client, held: &[Grant]) -> Result<(), String> {
    let begin = Instant::now();
    let beats = held.iter().enumerate().map(|(number, grant)| {
        let (svc, version) = (svc.clone(), grant.version.clone());
        tokio::spawn(async move { svc.heartbeat(&key(number), &version).await.status })
    });
    for beat in beats.collect::<Vec<_>>() {
        let status = beat.await.unwrap();
        assert!(status == 200 || status == 503, "{status}");
    }
    let took = begin.elapsed();
    expect(took < BACK_WITHIN, || format!("requests were answered after {took:?}"))?;
    let begin = Instant::now();
    for (number, grant) in held.iter().enumerate() {
        let beat = svc.heartbeat(&key(number), &grant.version).await;
        expect(beat.status != 503, || format!("not renewed: {}", beat.text))?;
        beat.grant();
    }
    let new = svc.acquire("new", json!({"wait_ms": 0})).await.grant();
    svc.get("/ready").await.expect(200);
    let took = begin.elapsed();
    svc.release("new", &new.version).await.unheld(200);
    expect(took < Duration::from_secs(2), || format!("afterwards requests took {took:?}"))
}
