//! Fencing tokens, while two replicas delete and create keys, and their tombstones are swept.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use db_locks_service::{
    domain::{Body, Command, Timestamp},
    store::{Store, StoreError, SweepPlace},
};
use tokio::task::JoinSet;

use super::{acquire, another_on, id, load, store_on, write};
use crate::{
    conformance::on_every_database,
    support::{Database, TRIES, go_on_until_enough, tries::Growth, try_until_undisturbed},
};

on_every_database!(with_database: tokens_grow_while_keys_are_deleted_created_and_swept);

const KEYS: usize = 400;

/// The time until a floor has settled: longer than any statement of this test, unless the machine is very busy.
const SETTLE_MS: i64 = 400;
const SETTLE: Duration = Duration::from_millis(SETTLE_MS.unsigned_abs());

/// The keys are used in two halves, in turns of this length. While one half rests, its tombstones are swept, and the
/// other is used. A floor may have been raised just before a rest began, and the next one is raised only when that has
/// settled. So a rest is three times as long.
const REST: Duration = Duration::from_millis(1_200);

/// What happened so far.
struct Progress {
    began: Instant,
    /// The highest token of each key.
    highest: Vec<AtomicI64>,
    growth: Growth,
    grants: AtomicU64,
    swept: AtomicU64,
    over: AtomicBool,
}

impl Progress {
    fn is_enough(&self) -> bool {
        let (grants, swept) = (self.grants.load(Ordering::Relaxed), self.swept.load(Ordering::Relaxed));
        grants > 100 && swept > 10 || self.growth.has_fallen()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// Guards invariant 2 with concurrent writers, since writers in turn would show no error.
async fn tokens_grow_while_keys_are_deleted_created_and_swept(database: Database) {
    let stores = [store_on(&database).await, another_on(&database).await];
    try_until_undisturbed(TRIES, async || {
        let progress = Arc::new(Progress {
            began: Instant::now(),
            highest: (0..KEYS).map(|_| AtomicI64::new(0)).collect(),
            growth: Growth::default(),
            grants: AtomicU64::new(0),
            swept: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        let mut workers = JoinSet::new();
        workers.spawn(sweep(Arc::clone(&stores[0]), Arc::clone(&progress)));
        for number in 0..6 {
            // Two workers use each range of keys, so that they meet.
            let first = number / 2 * (KEYS / 3);
            workers.spawn(grant_and_delete(Arc::clone(&stores[number % 2]), first, Arc::clone(&progress)));
        }
        go_on_until_enough("grants and swept traces", 5 * REST, || progress.is_enough()).await;
        progress.over.store(true, Ordering::Relaxed);
        workers.join_all().await;
        progress.growth.check(SETTLE)
    })
    .await;
}

/// Sweeps as fast as it can.
async fn sweep(store: Arc<dyn Store>, progress: Arc<Progress>) {
    let (mut from, mut floors) = (SweepPlace::FIRST, BTreeMap::new());
    while !progress.is_over() {
        let since = Instant::now();
        let swept = store.sweep_tombstones(Timestamp(i64::MAX / 2), SETTLE_MS, from, 100).await;
        progress.growth.took(since);
        match swept {
            Ok(page) => {
                progress.swept.fetch_add(page.removed.len() as u64, Ordering::Relaxed);
                from = page.next.unwrap_or(SweepPlace::FIRST);
                floors.extend(page.floors);
            }
            Err(StoreError::Transient(_)) => {}
            Err(error) => panic!("{error}"),
        }
        if from == SweepPlace::FIRST {
            match store.raise_floors(&std::mem::take(&mut floors)).await {
                Ok(()) | Err(StoreError::Transient(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Grants and deletes the keys of a half, one after the other.
async fn grant_and_delete(store: Arc<dyn Store>, first: usize, progress: Arc<Progress>) {
    let mut turn = first;
    while !progress.is_over() {
        turn += 1;
        let second_half = progress.began.elapsed().as_millis() / REST.as_millis() % 2 == 1;
        let key = turn % (KEYS / 2) + if second_half { KEYS / 2 } else { 0 };
        grant_or_delete(&*store, key, &progress).await;
    }
}

/// Grants an absent key, or deletes an existing one.
async fn grant_or_delete(store: &dyn Store, number: usize, progress: &Progress) {
    let id = id(&format!("k{number}"));
    let highest = &progress.highest[number];
    let (before, since) = (highest.load(Ordering::SeqCst), Instant::now());
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
    let committed = store.commit(vec![write].into()).await;
    progress.growth.took(since);
    let committed = match committed {
        Ok(committed) => committed,
        Err(StoreError::Transient(_)) => return,
        Err(error) => panic!("{error}"),
    };
    let Some(token) = committed.tokens[0].filter(|_| grants) else { return };
    progress.growth.granted(&format!("k{number}"), token.0, before);
    progress.grants.fetch_add(1, Ordering::Relaxed);
    highest.fetch_max(token.0, Ordering::SeqCst);
}
