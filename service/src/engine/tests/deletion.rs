//! Deletions of semaphores with many permits.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    Replica, deliver, id,
    memory_store::{Fault, MemoryStore},
    request,
};
use crate::{
    AcquireRequest, ServiceError, Unavailable,
    domain::{Body, Kind, Refusal},
};

/// A semaphore of this size that has so many ended permits, and a replica that has not used it yet.
async fn with_permits(count: i32, max_size: i32) -> Replica {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    replica.service.put_semaphore(id("s"), max_size, None, None).await.unwrap();
    store.add_ended_permits(&id("s"), count);
    // Another replica, which has no state of the key.
    Replica::over(&store)
}

fn slots(replica: &Replica) -> Option<i32> {
    match replica.store.row(&id("s")).body {
        Body::Semaphore(semaphore) => Some(semaphore.permits.slots),
        Body::Absent | Body::Mutex(_) => None,
    }
}

/// Guards that other keys wait for no more than a thousand permits, and that the permits are not searched for each step.
#[tokio::test(start_paused = true)]
async fn many_permits_are_deleted_in_several_commits_and_one_load() {
    for max_size in [5_000, 10] {
        let replica = with_permits(5_000, max_size).await;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (commits, loads) = (count(&replica.store.commits), count(&replica.store.loads));
        replica.service.delete_semaphore(id("s")).await.unwrap();
        assert_eq!(slots(&replica), None);
        let (commits, loads) = (count(&replica.store.commits) - commits, count(&replica.store.loads) - loads);
        assert_eq!((commits, loads), (5, 1), "with the size {max_size}");
    }
}

/// Guards invariants 1 and 4.
#[tokio::test(start_paused = true)]
async fn a_permit_that_another_replica_grants_ends_the_deletion() {
    let replica = with_permits(5_000, 5_000).await;
    replica.store.commit_ms.store(100, Ordering::Relaxed);
    let other = Replica::over(&replica.store);
    let service = replica.service.clone();
    let deletion = tokio::spawn(async move { service.delete_semaphore(id("s")).await });
    while slots(&replica) == Some(5_000) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let permit = AcquireRequest { kind: Kind::Semaphore, ..request(0) };
    deliver(other.service.acquire(id("s"), permit).await.unwrap());
    let refused = deletion.await.unwrap();
    let is_in_use = matches!(refused, Err(ServiceError::Refused { refusal: Refusal::InUse(_), .. }));
    assert!(is_in_use, "{refused:?}");
    assert!(slots(&replica).is_some_and(|slots| (1..5_000).contains(&slots)));
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_answer_is_lost_is_found_or_repeated() {
    let silence = Duration::from_secs(1);
    for fault in [Fault::AppliedSilent(silence), Fault::LostSilent(silence)] {
        let replica = with_permits(3_000, 3_000).await;
        replica.store.fail_next(fault);
        let deleted = replica.service.delete_semaphore(id("s")).await;
        assert!(deleted.is_ok(), "{fault:?}: {deleted:?}");
        assert_eq!(slots(&replica), None);
    }
}

/// A write that the database refuses has no verdict if it is a step. Its command must not be tried without end.
#[tokio::test(start_paused = true)]
async fn a_step_that_the_database_refuses_is_answered() {
    let replica = with_permits(3_000, 3_000).await;
    replica.store.fail_next(Fault::Refused);
    let refused = replica.service.delete_semaphore(id("s")).await;
    assert!(matches!(refused, Err(ServiceError::Unavailable(Unavailable::DatabaseRefused))), "{refused:?}");
    replica.service.delete_semaphore(id("s")).await.unwrap();
}
