//! A service without waiters for a long time, and then with one.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Client, Dialect, Service, TRIES, expect, try_until_undisturbed};

/// After half a minute without waiters a replica leaves the membership. Nothing announces that, so the test tries at
/// several moments after it.
const QUIET: Duration = Duration::from_secs(33);

/// Guards invariants 5 and 6: a waiter is in the queue at once, and is handed the lock at once, even while the replica
/// is leaving.
#[tokio::test]
async fn a_waiter_after_a_long_quiet_is_queued_at_once() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start(&database.url).await;
    let svc = service.client();
    try_until_undisturbed(TRIES, async || hand_over(&svc, "first").await).await;
    try_until_undisturbed(TRIES, async || {
        tokio::time::sleep(QUIET).await;
        hand_over(&svc, "second").await
    })
    .await;
}

async fn hand_over(svc: &Client, key: &str) -> Result<(), String> {
    let held = svc.hold(key).await;
    let begin = Instant::now();
    let waiting = svc.queue_up(key, json!({"wait_ms": 50_000}), 1).await;
    svc.release(key, &held.version).await.unheld(200);
    let granted = waiting.await.unwrap().grant();
    let took = begin.elapsed();
    svc.release(key, &granted.version).await.unheld(200);
    expect(took < Duration::from_secs(2), || format!("queued and granted only after {took:?}"))
}
