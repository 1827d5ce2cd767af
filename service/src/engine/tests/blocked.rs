//! Rows that another session keeps locked do not delay other keys.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::Instant;

use super::{Replica, deliver, id, memory_store::MemoryStore, request};
use crate::{
    ServiceError, Unavailable,
    domain::{DataEdit, Kind, Version},
};

/// The maximum time of a heartbeat that waits for no lock.
const SHORTLY: Duration = Duration::from_millis(50);

fn store() -> std::sync::Arc<MemoryStore> {
    let store = std::sync::Arc::new(MemoryStore::new());
    store.commit_ms.store(5, Ordering::Relaxed);
    store
}

/// One replica with one shard, so that all keys share its batches.
fn alone() -> Replica {
    Replica::with_shards(&store(), 1)
}

async fn heartbeat(replica: &Replica, key: &str, version: Version) -> Result<Duration, ServiceError> {
    let since = Instant::now();
    let renewed = replica.service.heartbeat(id(key), Kind::Mutex, version, None, DataEdit::Keep).await;
    renewed.map(|_| since.elapsed())
}

async fn acquire_all(replica: &Replica, name: &str, count: usize) -> Vec<(String, Version)> {
    let mut grants = Vec::new();
    for number in 0..count {
        let key = format!("{name}{number}");
        let version = deliver(replica.acquire(&key, 0).await.unwrap());
        grants.push((key, version));
    }
    grants
}

/// Sends heartbeats for each of these keys. Returns the time of the slowest one, and the number that failed.
async fn beat(replica: &Replica, grants: &[(String, Version)], rounds: usize) -> (Duration, usize) {
    let beats = grants.iter().cloned().map(|(key, version)| {
        let replica = replica.clone();
        tokio::spawn(async move {
            let (mut slowest, mut failed) = (Duration::ZERO, 0);
            for _ in 0..rounds {
                match heartbeat(&replica, &key, version).await {
                    Ok(took) => slowest = slowest.max(took),
                    Err(_) => failed += 1,
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            (slowest, failed)
        })
    });
    let (mut slowest, mut failed) = (Duration::ZERO, 0);
    for beat in beats.collect::<Vec<_>>() {
        let (took, lost) = beat.await.unwrap();
        slowest = slowest.max(took);
        failed += lost;
    }
    (slowest, failed)
}

#[tokio::test(start_paused = true)]
async fn locked_rows_do_not_keep_their_neighbours_waiting() {
    for is_seen in [true, false] {
        let replica = alone();
        let stuck = acquire_all(&replica, "stuck", 4).await;
        let others = acquire_all(&replica, "other", 20).await;
        for (key, _) in &stuck {
            replica.store.lock_row(&id(key), Duration::from_secs(12), is_seen);
        }
        let began = Instant::now();
        let blocked = tokio::spawn({
            let (replica, stuck) = (replica.clone(), stuck.clone());
            async move { beat(&replica, &stuck, 3).await }
        });
        let (slowest, failed) = beat(&replica, &others, 100).await;
        assert_eq!(failed, 0, "seen: {is_seen}");
        // Only the first batch waits for a lock; if the check does not see the lock, a second one has to.
        assert!(
            slowest < Duration::from_millis(if is_seen { 500 } else { 1_000 }),
            "{slowest:?}, seen: {is_seen}"
        );
        assert_eq!(blocked.await.unwrap().1, 2 * stuck.len(), "two of three heartbeats failed in time");
        assert!(began.elapsed() < Duration::from_secs(20));
        for (key, version) in &stuck {
            let took = heartbeat(&replica, key, *version).await.unwrap();
            assert!(took <= SHORTLY, "{took:?}: the key is like any other again");
        }
    }
}

/// For some time after locked rows were seen, no batch waits for another one.
#[tokio::test(start_paused = true)]
async fn further_locked_rows_are_found_before_a_batch_waits_for_them() {
    let replica = alone();
    let stuck = acquire_all(&replica, "stuck", 20).await;
    let others = acquire_all(&replica, "other", 5).await;
    for (key, _) in &stuck {
        replica.store.lock_row(&id(key), Duration::from_secs(30), true);
    }
    let first = &stuck[0];
    assert!(heartbeat(&replica, &first.0, first.1).await.is_err());
    let blocked = stuck[1..].iter().cloned().enumerate().map(|(number, (key, version))| {
        let replica = replica.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(150) * u32::try_from(number).unwrap()).await;
            heartbeat(&replica, &key, version).await.is_err()
        })
    });
    let blocked: Vec<_> = blocked.collect();
    let (slowest, failed) = beat(&replica, &others, 40).await;
    assert_eq!(failed, 0);
    assert!(slowest <= SHORTLY, "{slowest:?}");
    for beat in blocked {
        assert!(beat.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_locked_row_nothing_is_checked() {
    let replica = alone();
    let grants = acquire_all(&replica, "a", 20).await;
    beat(&replica, &grants, 10).await;
    assert_eq!(replica.store.checks.load(Ordering::Relaxed), 0);
}

/// Guards invariant 6: the waiters of a key whose row was locked are served when the row is free.
#[tokio::test(start_paused = true)]
async fn a_queue_behind_a_locked_row_goes_on_when_the_row_is_free() {
    let replica = alone();
    let holder = deliver(replica.acquire("a", 0).await.unwrap());
    let waiter = replica.queue("a", request(60_000)).await;
    let late = replica.queue("a", request(1_000)).await;
    replica.store.lock_row(&id("a"), Duration::from_secs(12), true);
    let released = replica.release("a", holder).await;
    assert!(matches!(released, Err(ServiceError::Unavailable(Unavailable::RowLocked))));
    assert!(late.await.unwrap().is_err(), "the waiter is answered in time");
    let since = Instant::now();
    while let Err(error) = replica.release("a", holder).await {
        assert!(matches!(error, ServiceError::Unavailable(_)), "{error}");
    }
    deliver(waiter.await.unwrap().unwrap());
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

/// However many keys are blocked, and for however long, few commits for them are under way.
#[tokio::test(start_paused = true)]
async fn blocked_keys_are_tried_seldom() {
    let replica = alone();
    let stuck = acquire_all(&replica, "stuck", 100).await;
    for (key, _) in &stuck {
        replica.store.lock_row(&id(key), Duration::from_mins(1), true);
    }
    let beats = tokio::spawn({
        let replica = replica.clone();
        async move { beat(&replica, &stuck, 2).await }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (commits, checks) = (&replica.store.commits, &replica.store.checks);
    let before = (commits.load(Ordering::Relaxed), checks.load(Ordering::Relaxed));
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(commits.load(Ordering::Relaxed), before.0, "nothing is sent that would wait");
    let checked = checks.load(Ordering::Relaxed) - before.1;
    assert!(checked <= 40, "{checked} checks in 8 s");
    beats.abort();
}
