//! Fencing tokens, while keys are deleted and created and their traces swept, by two replicas at once.

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

/// A worker comes back to a key no sooner: a deleted one rests for longer than a floor takes to settle.
const ROUND: Duration = Duration::from_millis(600);

/// Guards invariant 2, concurrently: a test that takes turns sees nothing.
async fn tokens_grow_while_keys_are_deleted_created_and_swept(database: Database) {
    let stores = [store_on(&database).await, another_on(&database).await];
    let highest: Arc<Vec<AtomicI64>> = Arc::new((0..KEYS).map(|_| AtomicI64::new(0)).collect());
    let over = Arc::new(AtomicBool::new(false));
    let mut workers = JoinSet::new();
    for number in 0..6 {
        let (store, highest, over) =
            (Arc::clone(&stores[number % 2]), Arc::clone(&highest), Arc::clone(&over));
        workers.spawn(async move {
            // Two workers on each stretch of the keys: they meet.
            let (mut grants, mut turn) = (0, number / 2 * (KEYS / 3));
            let mut round_began = Instant::now();
            while !over.load(Ordering::Relaxed) {
                turn += 1;
                if turn % KEYS == 0 {
                    tokio::time::sleep_until(round_began + ROUND).await;
                    round_began = Instant::now();
                }
                grants += i64::from(grant_or_delete(&*store, turn % KEYS, &highest).await);
            }
            grants
        });
    }
    let swept = sweep_for(&*stores[0], Duration::from_secs(4)).await;
    over.store(true, Ordering::Relaxed);
    let grants: i64 = workers.join_all().await.into_iter().sum();
    assert!(grants > 100, "only {grants} grants");
    assert!(swept > 10, "only {swept} traces were swept");
}

/// Sweeps as fast as it can; a floor settles for longer than a statement of this test lives.
async fn sweep_for(store: &dyn Store, time: Duration) -> u64 {
    let until = Instant::now() + time;
    let mut swept = 0;
    while Instant::now() < until {
        match store.sweep_tombstones(Timestamp(i64::MAX / 2), 400, 100).await {
            Ok(went) => swept += went,
            Err(StoreError::Transient(_)) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
    swept
}

/// Grants a key that is not there, or deletes one that is. Returns whether it granted.
async fn grant_or_delete(store: &dyn Store, number: usize, highest: &[AtomicI64]) -> bool {
    let id = id(&format!("k{number}"));
    let before = highest[number].load(Ordering::SeqCst);
    // As an engine does that knows nothing of the key: half of the writers guess that there is no row.
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
