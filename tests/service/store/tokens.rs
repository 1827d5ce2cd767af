//! Fencing tokens, while two replicas delete and create keys, and their tombstones are swept.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use db_locks_service::{
    domain::{Body, Command, Timestamp},
    store::{Store, StoreError},
};
use tokio::{task::JoinSet, time::Instant};

use super::{acquire, another_on, id, load, store_on, write};
use crate::{conformance::on_every_database, support::Database};

on_every_database!(with_database: tokens_grow_while_keys_are_deleted_created_and_swept);

const KEYS: usize = 400;

/// The time until a floor has settled: longer than any statement of this test.
const SETTLE_MS: i64 = 400;

/// The keys are used in two halves, in turns of this length. While one half rests, its tombstones are swept, and the
/// other is used. A floor may have been raised just before a rest began, and the next one is raised only when that has
/// settled. So a rest is three times as long.
const REST: Duration = Duration::from_millis(1_200);

/// Guards invariant 2 with concurrent writers, since writers in turn would show no error.
async fn tokens_grow_while_keys_are_deleted_created_and_swept(database: Database) {
    let stores = [store_on(&database).await, another_on(&database).await];
    let highest: Arc<Vec<AtomicI64>> = Arc::new((0..KEYS).map(|_| AtomicI64::new(0)).collect());
    let over = Arc::new(AtomicBool::new(false));
    let mut workers = JoinSet::new();
    let began = Instant::now();
    for number in 0..6 {
        let (store, highest, over) =
            (Arc::clone(&stores[number % 2]), Arc::clone(&highest), Arc::clone(&over));
        workers.spawn(async move {
            // Two workers use each range of keys, so that they meet.
            let (mut grants, mut turn) = (0, number / 2 * (KEYS / 3));
            while !over.load(Ordering::Relaxed) {
                turn += 1;
                let second_half = began.elapsed().as_millis() / REST.as_millis() % 2 == 1;
                let key = turn % (KEYS / 2) + if second_half { KEYS / 2 } else { 0 };
                grants += i64::from(grant_or_delete(&*store, key, &highest).await);
            }
            grants
        });
    }
    let swept = sweep_for(&*stores[0], 5 * REST).await;
    over.store(true, Ordering::Relaxed);
    let grants: i64 = workers.join_all().await.into_iter().sum();
    assert!(grants > 100, "only {grants} grants");
    assert!(swept > 10, "only {swept} traces were swept");
}

/// Sweeps as fast as it can.
async fn sweep_for(store: &dyn Store, time: Duration) -> u64 {
    let until = Instant::now() + time;
    let mut swept = 0;
    while Instant::now() < until {
        match store.sweep_tombstones(Timestamp(i64::MAX / 2), SETTLE_MS, 100).await {
            Ok(went) => swept += went,
            Err(StoreError::Transient(_)) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
    swept
}

/// Grants an absent key, or deletes an existing one. Returns whether it granted.
async fn grant_or_delete(store: &dyn Store, number: usize, highest: &[AtomicI64]) -> bool {
    let id = id(&format!("k{number}"));
    let before = highest[number].load(Ordering::SeqCst);
    // Half of the writers assume that there is no row, like an engine that does not know the key.
    let (state, now) = load(store, &id).await;
    let grants = matches!(state.body, Body::Absent);
    let command = match &state.body {
        Body::Mutex(mutex) => {
            Command::DeleteLock { version: mutex.grant.as_ref().map(|grant| grant.version) }
        }
        Body::Absent | Body::Semaphore(_) => Command::Acquire(acquire("racer")),
    };
    let write = write(&id, state, now, &[command]);
    let committed = match store.commit(vec![write].into()).await {
        Ok(committed) => committed,
        Err(StoreError::Transient(_)) => return false,
        Err(error) => panic!("{error}"),
    };
    let Some(token) = committed.tokens[0].filter(|_| grants) else { return false };
    assert!(token.0 > before, "token {} was granted after {before} of {id:?}", token.0);
    highest[number].fetch_max(token.0, Ordering::SeqCst);
    true
}
