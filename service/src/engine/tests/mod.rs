//! Tests of the engine against a database in memory, in paused time: seconds pass at once, and nothing depends on luck.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod audited;
mod blocked;
mod clock;
mod crowds;
mod deadlines;
mod deletion;
mod faults;
mod membership;
mod memory_store;
mod overload;
mod overwritten;
mod priority;
mod replicas;
mod scale;
mod suspects;
mod undelivered;
mod waiter_limits;
mod waiting;

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;

use self::memory_store::MemoryStore;
use super::{Engine, EngineOptions, SweepOptions};
use crate::{
    AcquireRequest, Delivery, Limits, LockService, ServiceError,
    audit::AuditLog,
    domain::{DataEdit, Key, KeyId, Kind, LockView, Owner, Refusal, Release, Tenant, Version},
};

/// One replica over a database that may have others.
#[derive(Clone)]
struct Replica {
    service: LockService,
    engine: Arc<Engine>,
    store: Arc<MemoryStore>,
}

impl Replica {
    fn over(store: &Arc<MemoryStore>) -> Self {
        Self::with_shards(store, 2)
    }

    fn with_shards(store: &Arc<MemoryStore>, shards: usize) -> Self {
        Self::with_options(store, options(shards))
    }

    fn with_options(store: &Arc<MemoryStore>, options: EngineOptions) -> Self {
        Self::start(store, options, AuditLog::off())
    }

    fn start(store: &Arc<MemoryStore>, options: EngineOptions, audit: AuditLog) -> Self {
        let engine = Engine::start(store.clone(), options, audit);
        let service = LockService::new(engine.clone(), store.clone(), Limits::default());
        Self { service, engine, store: store.clone() }
    }

    fn new() -> Self {
        Self::over(&Arc::new(MemoryStore::new()))
    }

    async fn acquire(&self, key: &str, wait_ms: i64) -> Result<Delivery, ServiceError> {
        self.service.acquire(id(key), request(wait_ms)).await
    }

    /// Starts an acquire in the background. Returns when it is in the queue.
    async fn queue(&self, key: &str, request: AcquireRequest) -> JoinHandle<Result<Delivery, ServiceError>> {
        let before = self.store.row(&id(key)).queue.len;
        let (service, id) = (self.service.clone(), id(key));
        let task = tokio::spawn({
            let id = id.clone();
            async move { service.acquire(id, request).await }
        });
        while self.store.row(&id).queue.len == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        task
    }

    async fn release(&self, key: &str, version: Version) -> Result<LockView, ServiceError> {
        let release = Release { kind: Kind::Mutex, version, data: DataEdit::Keep, delete_lock: false };
        self.service.release(id(key), release).await
    }
}

/// Low limits, so that tests reach them soon.
fn options(shards: usize) -> EngineOptions {
    EngineOptions {
        guard_wait: Duration::from_secs(5),
        shards,
        memory_bytes: 1 << 20,
        max_queued: 1_000,
        max_queue_wait: Duration::from_secs(2),
        max_waiters_per_key: 100,
        max_waiters_per_tenant: 1_000,
        max_waiters: 1_000,
        max_bytes_per_tenant: u64::MAX,
        sweep: SweepOptions::DEFAULT,
    }
}

/// Pauses the process for two seconds between the next commit of a key and its answer.
fn stand_still_after_the_next_commit(replica: &Replica, key: &str) -> JoinHandle<()> {
    let (store, id) = (replica.store.clone(), id(key));
    let before = store.row(&id).row_version;
    tokio::spawn(async move {
        while store.row(&id).row_version == before {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(Duration::from_secs(2)).await;
    })
}

fn id(key: &str) -> KeyId {
    KeyId { tenant: Tenant::new("t").unwrap(), key: Key::new(key).unwrap() }
}

fn request(wait_ms: i64) -> AcquireRequest {
    AcquireRequest {
        kind: Kind::Mutex,
        owner: Owner::new("tester").unwrap(),
        lease_ms: Some(60_000),
        wait_ms: Some(wait_ms),
        additional_wait_ms: 0,
        data: None,
        replace_data: false,
        delete_on_release: false,
        only_if_exists: false,
        reentrant: false,
        guarded: false,
        version: None,
    }
}

fn chosen(version: Version, wait_ms: i64) -> AcquireRequest {
    AcquireRequest { version: Some(version), ..request(wait_ms) }
}

/// Marks a grant as delivered, and returns its version.
fn deliver(delivery: Delivery) -> Version {
    let version = delivery.view().held.as_ref().unwrap().version;
    delivery.delivered();
    version
}

fn refusal(result: Result<Delivery, ServiceError>) -> Refusal {
    match result {
        Err(ServiceError::Refused { refusal, .. }) => refusal,
        Err(ServiceError::NotGuarded(why)) => panic!("not guarded: {why}"),
        Err(ServiceError::Unavailable(reason)) => panic!("unavailable: {reason}"),
        Ok(delivery) => panic!("granted: {:?}", delivery.view()),
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_acquire_and_its_release_are_one_commit_each() {
    let replica = Replica::new();
    let first = deliver(replica.acquire("a", 0).await.unwrap());
    replica.release("a", first).await.unwrap();
    let commits = replica.store.commits.load(std::sync::atomic::Ordering::Relaxed);
    let loads = replica.store.loads.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(commits, 2);
    assert_eq!(loads, 1, "the first command needs the database's time");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_writes_nothing_is_decided_on_rows_loaded_after_its_arrival() {
    let store = Arc::new(MemoryStore::new());
    let (one, two) = (Replica::over(&store), Replica::over(&store));
    let held = deliver(one.acquire("a", 0).await.unwrap());
    assert!(matches!(refusal(two.acquire("a", 0).await), Refusal::NotGranted(_)));
    two.release("a", held).await.unwrap();
    // The first replica has cached the lock as held. Its answer must not come from the cache.
    deliver(one.acquire("a", 0).await.unwrap());
}
