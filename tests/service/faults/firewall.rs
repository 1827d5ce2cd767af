//! A firewall forgets the connections to the database: they accept bytes and never answer, without an error.

use std::time::{Duration, Instant};

use serde_json::json;

use super::proxy::Proxy;
use crate::support::{Database, Service};

on_every_server![connections_that_swallow_everything_cost_no_holder_its_lock];

/// The longest time for which a caller waits, and for which the service does not work.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// Guards invariant 4: a holder that sends heartbeats in time keeps the lock. All connections are dead at once, and
/// requests try each of them.
async fn connections_that_swallow_everything_cost_no_holder_its_lock(database: Database) {
    let proxy = Proxy::before(&database).await;
    let service = Service::start(&database.through_port(proxy.port())).await;
    let svc = service.client();
    let key = |number: usize| format!("k{number}");
    let mut held = Vec::new();
    for number in 0..8 {
        held.push(svc.hold(&key(number)).await);
    }
    proxy.freeze();
    let begin = Instant::now();
    let beats = held.iter().enumerate().map(|(number, grant)| {
        let (svc, version) = (svc.clone(), grant.version.clone());
        tokio::spawn(async move { svc.heartbeat(&key(number), &version).await.status })
    });
    for beat in beats.collect::<Vec<_>>() {
        let status = beat.await.unwrap();
        assert!(status == 200 || status == 503, "{status}");
    }
    assert!(begin.elapsed() < BACK_WITHIN, "{:?}", begin.elapsed());
    let begin = Instant::now();
    for (number, grant) in held.iter().enumerate() {
        svc.heartbeat(&key(number), &grant.version).await.grant();
    }
    svc.acquire("new", json!({"wait_ms": 0})).await.grant();
    svc.get("/ready").await.expect(200);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}
