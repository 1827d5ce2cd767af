//! Grants whose answers reached nobody.

use std::time::Duration;

use super::{Replica, chosen, deliver, id, refusal, stand_still_after_the_next_commit};
use crate::{
    ServiceError,
    domain::{Kind, Refusal},
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
        let store = std::sync::Arc::new(super::MemoryStore::new());
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
