//! A service at which nobody waited for long, and then somebody does.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Dialect, Service};

/// After half a minute without waiters a replica takes its leave of the others. Nothing announces that, so this looks at
/// the moments after it.
const QUIET: Duration = Duration::from_secs(33);

/// Guards invariants 5 and 6: whoever waits is in the queue at once, and handed the lock at once, also while the replica
/// is taking its leave.
#[tokio::test]
async fn a_waiter_after_a_long_quiet_is_queued_at_once() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start(&database.url).await;
    let svc = service.client();
    hand_over(&svc, "first").await;
    tokio::time::sleep(QUIET).await;
    hand_over(&svc, "second").await;
}

async fn hand_over(svc: &crate::support::Client, key: &str) {
    let held = svc.hold(key).await;
    let begin = Instant::now();
    let waiting = svc.queue_up(key, json!({"wait_ms": 50_000}), 1).await;
    svc.release(key, &held.version).await.unheld(200);
    waiting.await.unwrap().grant();
    assert!(begin.elapsed() < Duration::from_secs(2), "queued and granted only after {:?}", begin.elapsed());
}
