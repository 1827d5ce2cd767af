//! Grants whose answers reached nobody.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::task::JoinHandle;

use super::{MemoryStore, Replica, chosen, deliver, id, refusal, request, stand_still_after_the_next_commit};
use crate::{
    AcquireRequest, Delivery, ServiceError,
    domain::{Kind, Owner, Refusal, Version},
    engine::ids,
};

/// Guards invariant 7: a grant that reached nobody is given back at once.
#[tokio::test(start_paused = true)]
async fn an_undelivered_grant_is_given_back() {
    let replica = Replica::new();
    drop(replica.acquire("a", 0).await.unwrap());
    deliver(replica.acquire("a", 1_000).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_undelivered_grant_with_a_chosen_version_is_kept_for_ten_seconds() {
    let replica = Replica::new();
    let version = ids::version();
    drop(replica.service.acquire(id("a"), chosen(version, 0)).await.unwrap());
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(matches!(refusal(replica.acquire("a", 0).await), Refusal::NotGranted(_)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    deliver(replica.acquire("a", 0).await.unwrap());
}

/// Guards invariant 9: late clean-up of the first connection does not touch the second.
#[tokio::test(start_paused = true)]
async fn an_undelivered_grant_that_was_asked_for_again_stays() {
    let replica = Replica::new();
    let version = ids::version();
    drop(replica.service.acquire(id("a"), chosen(version, 0)).await.unwrap());
    assert_eq!(deliver(replica.service.acquire(id("a"), chosen(version, 0)).await.unwrap()), version);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(matches!(refusal(replica.acquire("a", 0).await), Refusal::NotGranted(_)), "it is still held");
}

/// Guards invariant 7: if it is unknown whether a lease is still active, nobody is left holding.
#[tokio::test(start_paused = true)]
async fn a_grant_that_is_not_answered_because_it_may_be_over_is_given_back() {
    let replica = Replica::new();
    let version = deliver(replica.acquire("a", 0).await.unwrap());
    replica.release("a", version).await.unwrap();
    let pause = stand_still_after_the_next_commit(&replica, "a");
    let answer = replica.acquire("a", 0).await;
    pause.await.unwrap();
    assert!(matches!(answer, Err(ServiceError::Unavailable(_))), "its time is not known");
    tokio::time::sleep(Duration::from_secs(1)).await;
    deliver(replica.acquire("a", 0).await.unwrap());
}

/// Guards invariant 9: a grant that is kept for a repeat is still there when the service has stopped.
#[tokio::test(start_paused = true)]
async fn draining_leaves_a_kept_grant_to_a_repeat_at_another_replica() {
    let replica = Replica::new();
    let version = ids::version();
    drop(replica.service.acquire(id("a"), chosen(version, 0)).await.unwrap());
    drop(replica.acquire("b", 0).await.unwrap());
    tokio::time::sleep(Duration::from_millis(100)).await;
    replica.engine.drain(Duration::from_secs(4)).await;
    let other = Replica::over(&replica.store);
    deliver(other.acquire("b", 0).await.unwrap());
    assert!(matches!(refusal(other.acquire("a", 0).await), Refusal::NotGranted(_)));
    // The answer to the repeat is lost as well. From now on the other replica takes care of the grant.
    drop(other.service.acquire(id("a"), chosen(version, 0)).await.unwrap());
    tokio::time::sleep(Duration::from_secs(11)).await;
    deliver(other.acquire("a", 0).await.unwrap());
}

/// Guards invariant 7: a grant that reached nobody is given back ten seconds after its last answer was lost, however
/// many were lost.
#[tokio::test(start_paused = true)]
async fn a_grant_whose_repeats_were_lost_too_is_given_back() {
    for kind in [Kind::Mutex, Kind::Semaphore] {
        let store = Arc::new(MemoryStore::new());
        let replicas = [Replica::over(&store), Replica::over(&store)];
        if kind == Kind::Semaphore {
            replicas[0].service.put_semaphore(id("a"), 1, None, None).await.unwrap();
        }
        let ask = crate::AcquireRequest { kind, ..chosen(ids::version(), 0) };
        for replica in [&replicas[0], &replicas[1], &replicas[1], &replicas[0]] {
            drop(replica.service.acquire(id("a"), ask.clone()).await.unwrap());
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
        let other = || crate::AcquireRequest { version: None, ..ask.clone() };
        let early = replicas[0].service.acquire(id("a"), other()).await;
        assert!(matches!(refusal(early), Refusal::NotGranted(_)), "{kind:?}");
        tokio::time::sleep(Duration::from_secs(5)).await;
        deliver(replicas[1].service.acquire(id("a"), other()).await.unwrap());
    }
}

/// Guards invariant 7: a client that got its answer keeps its grant, although the answer to its repeat was lost.
#[tokio::test(start_paused = true)]
async fn a_grant_whose_repeat_was_delivered_between_two_lost_ones_stays() {
    let replica = Replica::new();
    let version = ids::version();
    let ask = || replica.service.acquire(id("a"), chosen(version, 0));
    drop(ask().await.unwrap());
    deliver(ask().await.unwrap());
    drop(ask().await.unwrap());
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(matches!(refusal(replica.acquire("a", 0).await), Refusal::NotGranted(_)));
}

/// Starts three reentrant acquires that wait for key "a", one of them at another replica, and releases the lock.
async fn reentered_by_three(replicas: &[Replica; 2]) -> [Delivery; 3] {
    let held = deliver(replicas[0].acquire("a", 0).await.unwrap());
    let reentrant = || AcquireRequest {
        owner: Owner::new("reentrant").unwrap(),
        lease_ms: Some(600_000),
        reentrant: true,
        ..request(60_000)
    };
    let mut waiters = Vec::new();
    for replica in [&replicas[0], &replicas[1], &replicas[0]] {
        waiters.push(replica.queue("a", reentrant()).await);
    }
    replicas[0].release("a", held).await.unwrap();
    let mut deliveries = Vec::new();
    for waiter in waiters {
        deliveries.push(waiter.await.unwrap().unwrap());
    }
    deliveries.try_into().unwrap_or_else(|_| panic!("three waited"))
}

/// Guards invariant 7: the callers of a grant have gone, or their credential was revoked.
#[tokio::test(start_paused = true)]
async fn a_reentered_grant_of_which_no_answer_was_delivered_is_given_back() {
    for withheld in [false, true] {
        let store = Arc::new(MemoryStore::new());
        let replicas = [Replica::over(&store), Replica::over(&store)];
        for delivery in reentered_by_three(&replicas).await {
            if withheld { delivery.withhold() } else { drop(delivery) }
        }
        deliver(replicas[1].acquire("a", 1_000).await.unwrap());
    }
}

/// Guards invariants 1 and 7: one of the callers was answered that it has the grant.
#[tokio::test(start_paused = true)]
async fn a_reentered_grant_stays_if_one_answer_was_delivered() {
    for delivered in 0..3 {
        let store = Arc::new(MemoryStore::new());
        let replicas = [Replica::over(&store), Replica::over(&store)];
        for (index, delivery) in reentered_by_three(&replicas).await.into_iter().enumerate() {
            if index == delivered { delivery.delivered() } else { delivery.withhold() }
        }
        assert!(matches!(refusal(replicas[1].acquire("a", 20_000).await), Refusal::NotGranted(_)));
    }
}

type Waiter = JoinHandle<Result<Delivery, ServiceError>>;

/// Lets reentrant acquires with these versions wait for key "a" for this time, and releases the lock. Returns when the
/// write that grants it to them is under way, for a second.
async fn granted_in_a_slow_write(
    replica: &Replica,
    versions: impl IntoIterator<Item = Option<Version>>,
    wait_ms: i64,
) -> Vec<Waiter> {
    let held = deliver(replica.acquire("a", 0).await.unwrap());
    let mut waiters = Vec::new();
    for version in versions {
        let owner = Owner::new("reentrant").unwrap();
        let ask =
            AcquireRequest { owner, lease_ms: Some(600_000), reentrant: true, version, ..request(wait_ms) };
        waiters.push(replica.queue("a", ask).await);
    }
    replica.store.commit_ms.store(1_000, Ordering::Relaxed);
    let before = replica.store.commits.load(Ordering::Relaxed);
    let releasing = replica.clone();
    tokio::spawn(async move { releasing.release("a", held).await.unwrap() });
    while replica.store.commits.load(Ordering::Relaxed) == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    replica.store.commit_ms.store(0, Ordering::Relaxed);
    waiters
}

/// Guards invariant 7: the callers hang up before they are answered, some of them after their time is over.
#[tokio::test(start_paused = true)]
async fn a_reentered_grant_is_given_back_if_all_hang_up_while_it_is_written() {
    let version = || Some(ids::version());
    let cases = [vec![version(), version(), version()], vec![version(), None], vec![None, version()]];
    for versions in cases {
        for wait_ms in [60_000, 500] {
            let replica = Replica::new();
            let waiters = granted_in_a_slow_write(&replica, versions.clone(), wait_ms).await;
            tokio::time::sleep(Duration::from_millis(700)).await;
            waiters.iter().for_each(JoinHandle::abort);
            tokio::time::sleep(Duration::from_secs(11)).await;
            let row = replica.store.row(&id("a"));
            assert_eq!(row.token.0, 2, "the lock was granted");
            deliver(replica.acquire("a", 0).await.unwrap());
        }
    }
}

/// Guards invariants 1 and 7: one caller is answered that it has the grant, whatever becomes of the others.
#[tokio::test(start_paused = true)]
async fn a_reentered_grant_stays_if_all_but_one_hang_up_while_it_is_written() {
    for stays in 0..3 {
        let replica = Replica::new();
        let versions = [Some(ids::version()), None, Some(ids::version())];
        let mut waiters = granted_in_a_slow_write(&replica, versions, 60_000).await;
        let answered = waiters.remove(stays);
        waiters.iter().for_each(JoinHandle::abort);
        let held = deliver(answered.await.unwrap().unwrap());
        assert!(matches!(refusal(replica.acquire("a", 20_000).await), Refusal::NotGranted(_)));
        replica.release("a", held).await.unwrap();
        deliver(replica.acquire("a", 0).await.unwrap());
    }
}

/// Guards invariant 9: a caller that was cut off repeats its request in time.
#[tokio::test(start_paused = true)]
async fn a_reentered_grant_of_callers_that_hung_up_stays_with_a_repeat() {
    let replica = Replica::new();
    let version = ids::version();
    let versions = [Some(version), Some(ids::version())];
    let waiters = granted_in_a_slow_write(&replica, versions, 60_000).await;
    waiters.iter().for_each(JoinHandle::abort);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let owner = Owner::new("reentrant").unwrap();
    let repeat = AcquireRequest { owner, reentrant: true, ..chosen(version, 0) };
    assert_eq!(deliver(replica.service.acquire(id("a"), repeat).await.unwrap()), version);
    assert!(matches!(refusal(replica.acquire("a", 20_000).await), Refusal::NotGranted(_)));
}
