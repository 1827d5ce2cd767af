//! Thousands of callers that do the same at once: the work for each does not depend on their number.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};

use super::{Replica, deliver, id, memory_store::MemoryStore, options, request};
use crate::{
    AcquireRequest, Delivery, ServiceError,
    domain::{DataEdit, Kind, NotGrantedReason, Refusal, Version},
    engine::{EngineOptions, ids},
};

const MANY: usize = 3_000;

type Waiter = JoinHandle<Result<Delivery, ServiceError>>;

/// A replica with high limits of waiters.
fn replica() -> Replica {
    let store = Arc::new(MemoryStore::new());
    Replica::with_options(
        &store,
        EngineOptions {
            guard_wait: Duration::from_secs(5),
            max_queued: 100_000,
            max_waiters_per_key: 100_000,
            max_waiters_per_tenant: 100_000,
            max_waiters: 100_000,
            ..options(1)
        },
    )
}

/// Puts many into the queue of a key.
async fn crowd(replica: &Replica, key: &str, request: &AcquireRequest) -> Vec<Waiter> {
    let wait = |_| {
        let (service, request, id) = (replica.service.clone(), request.clone(), id(key));
        tokio::spawn(async move { service.acquire(id, request).await })
    };
    let waiters: Vec<_> = (0..MANY).map(wait).collect();
    while replica.engine.waiters() < MANY {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    waiters
}

/// The work of the database: statements, rows, and passes over whole queues.
#[derive(Debug, Clone, Copy)]
struct DatabaseWork {
    statements: u64,
    rows: u64,
    counted: u64,
}

fn database_work(store: &MemoryStore) -> DatabaseWork {
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    DatabaseWork {
        statements: read(&store.loads) + read(&store.commits),
        rows: read(&store.rows),
        counted: read(&store.counted_queues),
    }
}

/// The work of the database since `before`.
fn since(store: &MemoryStore, before: DatabaseWork) -> DatabaseWork {
    let now = database_work(store);
    DatabaseWork {
        statements: now.statements - before.statements,
        rows: now.rows - before.rows,
        counted: now.counted - before.counted,
    }
}

/// Sends heartbeats until the queue is empty. Returns the time of the slowest one.
async fn beat_until_empty(replica: &Replica, key: &str, version: Version) -> Duration {
    let mut slowest = Duration::ZERO;
    while replica.store.row(&id(key)).queue.len > 0 {
        let since = Instant::now();
        let renewed = replica.service.heartbeat(id(key), Kind::Mutex, version, None, DataEdit::Keep).await;
        renewed.unwrap();
        slowest = slowest.max(since.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    slowest
}

/// Guards invariant 7 for thousands at once. The holder's heartbeats go first.
#[tokio::test(start_paused = true)]
async fn thousands_that_hang_up_leave_in_few_batches() {
    for version in [None, Some(())] {
        let replica = replica();
        let holder = deliver(replica.acquire("a", 0).await.unwrap());
        let waiters = match version {
            None => crowd(&replica, "a", &request(600_000)).await,
            Some(()) => crowd_of_chosen(&replica, "a").await,
        };
        replica.store.commit_ms.store(10, Ordering::Relaxed);
        replica.store.load_ms.store(10, Ordering::Relaxed);
        let before = database_work(&replica.store);
        for waiter in &waiters {
            waiter.abort();
        }
        if version.is_none() {
            let slowest = beat_until_empty(&replica, "a", holder).await;
            assert!(slowest <= Duration::from_millis(100), "{slowest:?}");
        } else {
            // They keep their places for a while, and nobody looks at them meanwhile.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let done = since(&replica.store, before);
        let batches = MANY.div_ceil(512) as u64;
        assert!(done.statements <= 8 * batches + 60, "{done:?}");
        assert!(done.rows <= 10 * MANY as u64, "{done:?}");
        assert_eq!(done.counted, 0, "no position is computed");
    }
}

async fn crowd_of_chosen(replica: &Replica, key: &str) -> Vec<Waiter> {
    let wait = |_| {
        let (service, id) = (replica.service.clone(), id(key));
        let request = super::chosen(ids::version(), 600_000);
        tokio::spawn(async move { service.acquire(id, request).await })
    };
    let waiters: Vec<_> = (0..MANY).map(wait).collect();
    while replica.engine.waiters() < MANY {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    waiters
}

#[tokio::test(start_paused = true)]
async fn thousands_whose_time_is_up_are_told_their_places_in_few_batches() {
    let replica = replica();
    let holder = deliver(replica.acquire("a", 0).await.unwrap());
    let waiters = crowd(&replica, "a", &request(5_000)).await;
    replica.store.commit_ms.store(10, Ordering::Relaxed);
    replica.store.load_ms.store(10, Ordering::Relaxed);
    let before = database_work(&replica.store);
    let slowest = beat_until_empty(&replica, "a", holder).await;
    assert!(slowest <= Duration::from_millis(100), "{slowest:?}");
    let done = since(&replica.store, before);
    let batches = MANY.div_ceil(512) as u64;
    assert!(done.counted <= 2 * batches, "{done:?}");
    assert!(done.rows <= 10 * MANY as u64, "{done:?}");
    for waiter in waiters {
        let Refusal::NotGranted(refusal) = super::refusal(waiter.await.unwrap()) else {
            panic!("it is held")
        };
        assert_eq!(refusal.reason, NotGrantedReason::TimedOut);
        assert!(refusal.queue_position.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_stops_with_thousands_of_waiters_clears_its_queue_soon() {
    let replica = replica();
    deliver(replica.acquire("a", 0).await.unwrap());
    let waiters = crowd(&replica, "a", &request(600_000)).await;
    replica.store.commit_ms.store(10, Ordering::Relaxed);
    let before = database_work(&replica.store);
    let began = Instant::now();
    replica.engine.drain(Duration::from_secs(4)).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(replica.store.row(&id("a")).queue.len, 0);
    let done = since(&replica.store, before);
    assert!(done.rows <= 10 * MANY as u64 && done.counted == 0, "{done:?}");
    for waiter in waiters {
        assert!(matches!(waiter.await.unwrap(), Err(ServiceError::Unavailable(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn thousands_of_waiters_of_a_dead_replica_are_taken_out_in_few_pieces() {
    let replica = replica();
    deliver(replica.acquire("a", 0).await.unwrap());
    let waiters = crowd(&replica, "a", &request(600_000)).await;
    let _mine = crowd_of_one(&replica).await;
    let before = database_work(&replica.store);
    replica.store.adopt_all(&id("a"), ids::replica());
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(replica.store.row(&id("a")).queue.len, 0);
    let done = since(&replica.store, before);
    assert!(done.rows <= 20 * MANY as u64 && done.counted <= 8, "{done:?}");
    for waiter in waiters {
        waiter.abort();
    }
}

/// Adds a waiter, so that the replica stays registered and watches the others.
async fn crowd_of_one(replica: &Replica) -> Waiter {
    deliver(replica.acquire("mine", 0).await.unwrap());
    replica.queue("mine", request(600_000)).await
}

#[tokio::test(start_paused = true)]
async fn a_semaphore_that_grows_serves_thousands_in_few_batches() {
    let replica = replica();
    replica.service.put_semaphore(id("s"), 1, None, None).await.unwrap();
    let permit = |wait_ms| AcquireRequest { kind: Kind::Semaphore, ..request(wait_ms) };
    deliver(replica.service.acquire(id("s"), permit(0)).await.unwrap());
    let waiters = crowd(&replica, "s", &permit(600_000)).await;
    let before = database_work(&replica.store);
    replica.service.put_semaphore(id("s"), 100_000, None, None).await.unwrap();
    for waiter in waiters {
        deliver(waiter.await.unwrap().unwrap());
    }
    let done = since(&replica.store, before);
    assert!(done.rows <= 20 * MANY as u64, "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn thousands_of_permits_that_end_together_serve_thousands_in_few_batches() {
    let replica = replica();
    replica.service.put_semaphore(id("s"), i32::try_from(MANY).unwrap(), None, None).await.unwrap();
    let permit = AcquireRequest { kind: Kind::Semaphore, lease_ms: Some(3_000), ..request(600_000) };
    let holders: Vec<_> = (0..MANY)
        .map(|_| {
            let (service, permit) = (replica.service.clone(), permit.clone());
            tokio::spawn(async move { service.acquire(id("s"), permit).await.map(deliver) })
        })
        .collect();
    for holder in holders {
        holder.await.unwrap().unwrap();
    }
    let waiters = crowd(&replica, "s", &AcquireRequest { lease_ms: Some(60_000), ..permit }).await;
    let before = database_work(&replica.store);
    let served: Vec<_> = waiters
        .into_iter()
        .map(|waiter| tokio::spawn(async move { deliver(waiter.await.unwrap().unwrap()) }))
        .collect();
    for waiter in served {
        waiter.await.unwrap();
    }
    let done = since(&replica.store, before);
    assert!(done.rows <= 20 * MANY as u64, "{done:?}");
}
