//! Mutual exclusion, measured by its effect on a counter.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use serde_json::json;

use super::on_every_database;
use crate::support::{Client, Database, Fleet, SOON, eventually};

on_every_database![with_database:
    a_counter_guarded_by_the_lock_loses_no_count,
    a_semaphore_lets_no_more_in_than_it_has_permits,
];

const CALLERS: usize = 12;
const ROUNDS: usize = 5;

/// The data that the lock guards: a counter that is read and later written, and the last token seen.
#[derive(Default)]
struct Guarded {
    counter: AtomicI64,
    last_token: AtomicI64,
}

impl Guarded {
    async fn increment(&self, token: i64) {
        let before = self.last_token.swap(token, Ordering::SeqCst);
        assert!(token > before, "token {token} after {before}");
        let read = self.counter.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.counter.store(read + 1, Ordering::SeqCst);
    }
}

/// Guards invariants 1, 2 and 8: with two holders at once, counts would be lost, and tokens would be out of order.
pub(crate) async fn a_counter_guarded_by_the_lock_loses_no_count(database: Database) {
    let fleet = Fleet::start(database, 3).await;
    let guarded = Arc::new(Guarded::default());
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let (svc, guarded) = (fleet.at(caller), guarded.clone());
        callers.push(tokio::spawn(async move {
            for _ in 0..ROUNDS {
                let ask = json!({"wait_ms": 60_000, "lease_duration_ms": 30_000});
                let grant = svc.acquire("counter", ask).await.grant();
                guarded.increment(grant.token).await;
                svc.release("counter", &grant.version).await.unheld(200);
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(guarded.counter.load(Ordering::SeqCst), i64::try_from(CALLERS * ROUNDS).unwrap());
}

/// Guards invariant 1 for semaphores.
pub(crate) async fn a_semaphore_lets_no_more_in_than_it_has_permits(database: Database) {
    let fleet = Fleet::start(database, 3).await;
    fleet.at(0).put("/semaphores/s", json!({"max_size": 3})).await.expect(201);
    let inside = Arc::new(AtomicI64::new(0));
    let most = Arc::new(AtomicI64::new(0));
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        callers.push(tokio::spawn(use_permits(fleet.at(caller), inside.clone(), most.clone())));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 3, "no more permits were used");
    assert_eq!(fleet.at(1).get("/semaphores/s").await.body["busy_count"], 0);
}

async fn use_permits(svc: Client, inside: Arc<AtomicI64>, most: Arc<AtomicI64>) {
    for _ in 0..ROUNDS {
        let ask = json!({"wait_ms": 60_000, "lease_duration_ms": 30_000});
        let grant = svc.post("/semaphores/s/acquire", ask).await.grant();
        let now_inside = inside.fetch_add(1, Ordering::SeqCst) + 1;
        most.fetch_max(now_inside, Ordering::SeqCst);
        // The first holders wait for each other.
        let all_are_used = async || (most.load(Ordering::SeqCst) >= 3).then_some(());
        eventually("all permits are used", SOON, all_are_used).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        inside.fetch_sub(1, Ordering::SeqCst);
        svc.post("/semaphores/s/release", json!({"version": grant.version})).await.unheld(200);
    }
}
