//! Steps of the database's clock, and slow commits, as callers see them.

use std::sync::{Arc, atomic::Ordering};

use tokio::time::{Duration, Instant};

use super::{MemoryStore, Replica, deliver, id, request};
use crate::{
    AcquireRequest,
    domain::{DataEdit, Kind},
};

const LEASE_MS: i64 = 12_000;

fn ask(kind: Kind, wait_ms: i64) -> AcquireRequest {
    AcquireRequest { kind, lease_ms: Some(LEASE_MS), ..request(wait_ms) }
}

/// Steps the clock of the database forward, or back.
fn step(store: &MemoryStore, ms: i64) {
    store.clock_offset_ms.fetch_add(ms, Ordering::Relaxed);
}

/// A replica that has read the clock less than a second ago, and a semaphore `s`.
async fn warm(store: &Arc<MemoryStore>) -> Replica {
    let replica = Replica::over(store);
    replica.service.put_semaphore(id("s"), 1, None, None).await.unwrap();
    replica
}

/// Guards invariants 1 and 8: no caller is promised time in which another one may hold the lock.
#[tokio::test(start_paused = true)]
async fn a_grant_just_after_a_step_forward_promises_what_is_left() {
    for (key, kind) in [("a", Kind::Mutex), ("s", Kind::Semaphore)] {
        let store = Arc::new(MemoryStore::new());
        let replica = warm(&store).await;
        step(&store, 10_000);
        let delivery = replica.service.acquire(id(key), ask(kind, 0)).await.unwrap();
        let promised = delivery.view().held.as_ref().unwrap().expires_in_ms;
        deliver(delivery);
        assert!((1_900..=2_000).contains(&promised), "{kind:?}: {promised}");
        let since = Instant::now();
        deliver(Replica::over(&store).service.acquire(id(key), ask(kind, 60_000)).await.unwrap());
        assert!(since.elapsed() >= Duration::from_millis(1_900), "{kind:?}: {:?}", since.elapsed());
    }
}

/// Guards invariants 1 and 8 for heartbeats and waiters.
#[tokio::test(start_paused = true)]
async fn every_answer_promises_what_is_left() {
    let store = Arc::new(MemoryStore::new());
    let replica = warm(&store).await;
    let version = deliver(replica.service.acquire(id("a"), ask(Kind::Mutex, 0)).await.unwrap());
    let waiter = replica.queue("a", ask(Kind::Mutex, 60_000)).await;
    step(&store, 10_000);
    let renewed = replica.service.heartbeat(id("a"), Kind::Mutex, version, None, DataEdit::Keep).await;
    let promised = renewed.unwrap().held.unwrap().expires_in_ms;
    assert!((1_900..=2_000).contains(&promised), "{promised}");
    step(&store, 5_000);
    let released = replica.release("a", version).await;
    assert!(released.is_ok(), "{released:?}");
    let delivery = waiter.await.unwrap().unwrap();
    let promised = delivery.view().held.as_ref().unwrap().expires_in_ms;
    deliver(delivery);
    assert!((6_900..=7_000).contains(&promised), "{promised}");
}

/// If the step is longer than the lease, no time is left to promise, and the grant does not stay.
#[tokio::test(start_paused = true)]
async fn a_grant_that_a_step_has_ended_is_not_answered() {
    let store = Arc::new(MemoryStore::new());
    let replica = warm(&store).await;
    step(&store, 60_000);
    assert!(replica.service.acquire(id("a"), ask(Kind::Mutex, 0)).await.is_err());
    let delivery = replica.service.acquire(id("a"), ask(Kind::Mutex, 0)).await.unwrap();
    assert_eq!(delivery.view().held.as_ref().unwrap().expires_in_ms, LEASE_MS);
    deliver(delivery);
}

/// A step back neither shortens nor lengthens the promised lease.
#[tokio::test(start_paused = true)]
async fn a_grant_just_after_a_step_back_lasts_as_long_as_it_was_asked_for() {
    for (key, kind) in [("a", Kind::Mutex), ("s", Kind::Semaphore)] {
        let store = Arc::new(MemoryStore::new());
        let replica = warm(&store).await;
        step(&store, -10_000);
        let delivery = replica.service.acquire(id(key), ask(kind, 0)).await.unwrap();
        assert_eq!(delivery.view().held.as_ref().unwrap().expires_in_ms, LEASE_MS);
        deliver(delivery);
        let since = Instant::now();
        deliver(Replica::over(&store).service.acquire(id(key), ask(kind, 60_000)).await.unwrap());
        let waited = since.elapsed();
        assert!(waited >= Duration::from_millis(LEASE_MS.unsigned_abs()), "{kind:?}: {waited:?}");
        assert!(waited <= Duration::from_secs(15), "{kind:?}: cut to its length: {waited:?}");
    }
}

/// Without a step a caller is promised its whole lease, however slow the commit was.
#[tokio::test(start_paused = true)]
async fn a_slow_commit_neither_shortens_its_promise_nor_lengthens_the_next_lease() {
    let store = Arc::new(MemoryStore::new());
    let replica = warm(&store).await;
    store.commit_ms.store(4_000, Ordering::Relaxed);
    let delivery = replica.service.acquire(id("a"), ask(Kind::Mutex, 0)).await.unwrap();
    assert_eq!(delivery.view().held.as_ref().unwrap().expires_in_ms, LEASE_MS);
    deliver(delivery);
    store.commit_ms.store(0, Ordering::Relaxed);
    deliver(replica.service.acquire(id("b"), ask(Kind::Mutex, 0)).await.unwrap());
    let since = Instant::now();
    deliver(replica.service.acquire(id("b"), ask(Kind::Mutex, 60_000)).await.unwrap());
    let waited = since.elapsed();
    assert!(waited <= Duration::from_millis(LEASE_MS.unsigned_abs() + 50), "{waited:?}");
}
