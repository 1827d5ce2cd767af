//! What goes first while more commands wait than a batch has room for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{Replica, deliver, id, memory_store::MemoryStore, options, request};
use crate::{
    AcquireRequest, LockService, ServiceError, Unavailable,
    domain::{DataEdit, Key, KeyId, Kind, LockView, Release, Tenant, Version},
    engine::EngineOptions,
};

fn replica(commit_ms: u64, options: EngineOptions) -> Replica {
    let store = Arc::new(MemoryStore::new());
    store.commit_ms.store(commit_ms, Ordering::Relaxed);
    Replica::with_options(&store, options)
}

/// One shard that sheds no acquire.
fn patient() -> EngineOptions {
    EngineOptions { max_queued: 100_000, max_queue_wait: Duration::from_mins(1), ..options(1) }
}

fn of_tenant(tenant: &str, key: usize) -> KeyId {
    KeyId { tenant: Tenant::trusted(tenant), key: Key::trusted(&key.to_string()) }
}

/// Guards that a tenant with very many leases, which it renews without a pause, keeps nobody from a lock.
#[tokio::test(start_paused = true)]
async fn heartbeats_without_end_starve_no_acquire() {
    const LEASES: usize = 2_000;
    let replica = replica(20, patient());
    let stop = Arc::new(AtomicBool::new(false));
    let beats: Vec<_> = (0..LEASES)
        .map(|key| {
            let (service, stop) = (replica.service.clone(), stop.clone());
            tokio::spawn(async move {
                let held = of_tenant("flood", key);
                let version = deliver(service.acquire(held.clone(), request(0)).await.unwrap());
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    let beat = service.heartbeat(held.clone(), Kind::Mutex, version, None, DataEdit::Keep);
                    beat.await.unwrap();
                    count += 1;
                }
                count
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for key in 0..20 {
        let since = Instant::now();
        deliver(replica.service.acquire(of_tenant("other", key), request(0)).await.unwrap());
        assert!(since.elapsed() <= Duration::from_millis(100), "{:?}", since.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    for beats in beats {
        assert!(beats.await.unwrap() > 1, "they are a flood");
    }
}

/// Guards that no answer says that the database is away while it answers.
#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_in_time_is_overload_while_commits_succeed() {
    let replica = replica(500, patient());
    let calls: Vec<_> = (0..15_000)
        .map(|key| {
            let service = replica.service.clone();
            tokio::spawn(async move { service.acquire(of_tenant("t", key), request(0)).await })
        })
        .collect();
    let mut refused = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(delivery) => drop(deliver(delivery)),
            Err(ServiceError::Unavailable(Unavailable::Overloaded)) => refused += 1,
            // Its commit was under way when the time was over.
            Err(ServiceError::Unavailable(Unavailable::UnknownOutcome)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0);
    deliver(replica.service.acquire(id("after"), request(0)).await.unwrap());
}

/// A replica over a database where others can lock guard rows: each change of one is committed alone.
fn with_guard_rows(options: EngineOptions) -> Replica {
    let store = Arc::new(MemoryStore::new());
    store.commit_ms.store(20, Ordering::Relaxed);
    store.has_locked_guard_rows.store(true, Ordering::Relaxed);
    Replica::with_options(&store, options)
}

fn guarded() -> AcquireRequest {
    AcquireRequest { guarded: true, ..request(0) }
}

async fn release(service: &LockService, id: KeyId, version: Version) -> Result<LockView, ServiceError> {
    let release = Release { kind: Kind::Mutex, version, data: DataEdit::Keep, delete_lock: false };
    service.release(id, release).await
}

/// Guards that a tenant which acquires and releases very many guarded locks delays those of nobody else.
#[tokio::test(start_paused = true)]
async fn a_flood_of_guarded_changes_delays_no_release_and_no_acquire_of_another_tenant() {
    let replica = with_guard_rows(patient());
    let mut held = Vec::new();
    for key in 0..20 {
        held.push(deliver(replica.service.acquire(of_tenant("other", key), guarded()).await.unwrap()));
    }
    let flood: Vec<_> = (0..2_000)
        .map(|key| {
            let service = replica.service.clone();
            tokio::spawn(async move {
                loop {
                    // It may be refused for its wait.
                    let Ok(delivery) = service.acquire(of_tenant("flood", key), guarded()).await else {
                        continue;
                    };
                    let _ = release(&service, of_tenant("flood", key), deliver(delivery)).await;
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (key, version) in held.into_iter().enumerate() {
        let began = Instant::now();
        release(&replica.service, of_tenant("other", key), version).await.unwrap();
        let (released, since) = (began.elapsed(), Instant::now());
        deliver(replica.service.acquire(of_tenant("other", key), guarded()).await.unwrap());
        let acquired = since.elapsed();
        assert!(released.max(acquired) <= Duration::from_millis(100), "{released:?} {acquired:?}");
    }
    flood.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Guards that guarded acquires beyond what the database takes wait where they can be refused, and were not written.
#[tokio::test(start_paused = true)]
async fn guarded_acquires_that_would_wait_too_long_are_refused_in_time() {
    let replica = with_guard_rows(EngineOptions { max_queue_wait: Duration::from_secs(2), ..patient() });
    let since = Instant::now();
    let calls: Vec<_> = (0..5_000)
        .map(|key| {
            let service = replica.service.clone();
            tokio::spawn(async move { service.acquire(of_tenant("t", key), guarded()).await })
        })
        .collect();
    let mut refused = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(delivery) => drop(deliver(delivery)),
            Err(ServiceError::Unavailable(Unavailable::Overloaded)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0 && since.elapsed() < Duration::from_secs(4), "{refused} {:?}", since.elapsed());
}
