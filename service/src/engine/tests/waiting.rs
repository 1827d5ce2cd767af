//! Waiters at one replica.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::Instant;

use super::{Replica, chosen, deliver, id, refusal, request, stand_still_after_the_next_commit};
use crate::{
    ServiceError,
    domain::{NotGrantedReason, Refusal, Version},
    engine::ids,
};

/// Guards invariant 5: first come, first served.
#[tokio::test(start_paused = true)]
async fn waiters_are_granted_in_the_order_of_their_arrival() {
    let replica = Replica::new();
    let mut holder = deliver(replica.acquire("a", 0).await.unwrap());
    let mut waiters = Vec::new();
    for _ in 0..20 {
        waiters.push(replica.queue("a", request(60_000)).await);
    }
    assert!(
        matches!(refusal(replica.acquire("a", 0).await), Refusal::NotGranted(_)),
        "a new acquire does not overtake the waiters"
    );
    for (number, waiter) in waiters.into_iter().enumerate() {
        replica.release("a", holder).await.unwrap();
        let delivery = waiter.await.unwrap().unwrap();
        assert_eq!(delivery.view().fencing_token.0, i64::try_from(number).unwrap() + 2);
        holder = deliver(delivery);
    }
}

/// Guards invariant 6: a holder that has vanished is replaced as soon as its lease ends.
#[tokio::test(start_paused = true)]
async fn the_next_one_is_granted_when_the_lease_ends() {
    let replica = Replica::new();
    let short = crate::AcquireRequest { lease_ms: Some(3_000), ..request(0) };
    deliver(replica.service.acquire(id("a"), short).await.unwrap());
    let since = Instant::now();
    deliver(replica.acquire("a", 60_000).await.unwrap());
    let waited = since.elapsed();
    assert!(waited >= Duration::from_millis(2_990) && waited <= Duration::from_millis(3_050), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_times_out_is_answered_its_position_and_leaves_the_queue() {
    let replica = Replica::new();
    deliver(replica.acquire("a", 0).await.unwrap());
    let _first = replica.queue("a", request(60_000)).await;
    let Refusal::NotGranted(refusal) = refusal(replica.acquire("a", 500).await) else { panic!("it is held") };
    assert_eq!(refusal.reason, NotGrantedReason::TimedOut);
    assert_eq!(refusal.queue_position, Some(2));
    assert_eq!(refusal.waiters, 1);
    assert_eq!(refusal.holders.len(), 1);
}

/// Guards invariant 7: a caller that hung up never holds the lock.
#[tokio::test(start_paused = true)]
async fn a_caller_that_hangs_up_leaves_the_queue() {
    let replica = Replica::new();
    let holder = deliver(replica.acquire("a", 0).await.unwrap());
    let waiter = replica.queue("a", request(60_000)).await;
    waiter.abort();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(replica.store.row(&id("a")).queue.len, 0);
    replica.release("a", holder).await.unwrap();
    deliver(replica.acquire("a", 0).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_repeat_takes_over_the_place_and_the_first_is_superseded() {
    let replica = Replica::new();
    let holder = deliver(replica.acquire("a", 0).await.unwrap());
    let version: Version = ids::version();
    let first = replica.queue("a", chosen(version, 60_000)).await;
    let behind = replica.queue("a", request(60_000)).await;
    let second = tokio::spawn({
        let replica = replica.clone();
        async move { replica.service.acquire(id("a"), chosen(version, 60_000)).await }
    });
    assert_eq!(refusal(first.await.unwrap()), Refusal::Superseded);
    replica.release("a", holder).await.unwrap();
    let granted = deliver(second.await.unwrap().unwrap());
    assert_eq!(granted, version);
    replica.release("a", granted).await.unwrap();
    deliver(behind.await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_cut_keeps_its_place_for_ten_seconds_if_it_chose_its_version() {
    let replica = Replica::new();
    let holder = deliver(replica.acquire("a", 0).await.unwrap());
    let version = ids::version();
    let first = replica.queue("a", chosen(version, 60_000)).await;
    let behind = replica.queue("a", request(60_000)).await;
    first.abort();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let again = tokio::spawn({
        let replica = replica.clone();
        async move { replica.service.acquire(id("a"), chosen(version, 60_000)).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    replica.release("a", holder).await.unwrap();
    assert_eq!(deliver(again.await.unwrap().unwrap()), version, "the waiter kept its place before the other");
    behind.abort();
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_a_clear_503() {
    let replica = Replica::new();
    deliver(replica.acquire("a", 0).await.unwrap());
    let mut waiters = Vec::new();
    for _ in 0..100 {
        waiters.push(replica.queue("a", request(60_000)).await);
    }
    assert!(matches!(replica.acquire("a", 60_000).await, Err(ServiceError::Unavailable(_))));
}

#[tokio::test(start_paused = true)]
async fn draining_answers_all_waiters_and_accepts_releases() {
    let replica = Replica::new();
    let holder = deliver(replica.acquire("a", 0).await.unwrap());
    let waiter = replica.queue("a", request(60_000)).await;
    replica.engine.drain(Duration::from_secs(4)).await;
    assert!(matches!(waiter.await.unwrap(), Err(ServiceError::Unavailable(_))));
    assert_eq!(replica.store.row(&id("a")).queue.len, 0);
    assert!(matches!(replica.acquire("b", 0).await, Err(ServiceError::Unavailable(_))));
    replica.release("a", holder).await.unwrap();
}

/// A hand-over costs one commit: a caller that releases and queues again shares the commit of the next release.
#[tokio::test(start_paused = true)]
async fn a_deferred_acquire_shares_the_commit_of_the_next_release() {
    let replica = Replica::new();
    let holder = deliver(replica.acquire("a", 0).await.unwrap());
    let first = replica.queue("a", request(60_000)).await;
    let commits = || replica.store.commits.load(Ordering::Relaxed);
    let before = commits();
    let deferred = tokio::spawn({
        let service = replica.service.clone();
        async move { service.acquire(id("a"), request(60_000)).await }
    });
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(commits(), before, "it can only join the queue, so it is deferred");
    replica.release("a", holder).await.unwrap();
    let next = deliver(first.await.unwrap().unwrap());
    assert_eq!(
        commits(),
        before + 1,
        "the release, the grant and the deferred acquire's place are one commit"
    );
    replica.release("a", next).await.unwrap();
    deliver(deferred.await.unwrap().unwrap());
}

/// Guards invariant 5: a deferred acquire joins the queue soon, even without a release.
#[tokio::test(start_paused = true)]
async fn a_deferred_acquire_gets_a_commit_of_its_own_after_a_while() {
    let replica = Replica::new();
    let _holder = deliver(replica.acquire("a", 0).await.unwrap());
    let _first = replica.queue("a", request(60_000)).await;
    let since = Instant::now();
    let _second = replica.queue("a", request(60_000)).await;
    assert!(since.elapsed() <= Duration::from_millis(10), "{:?}", since.elapsed());
    assert_eq!(replica.store.row(&id("a")).queue.len, 2);
}

/// Guards invariant 5: an acquire with a short wait does not overtake an earlier one.
#[tokio::test(start_paused = true)]
async fn an_acquire_with_a_short_wait_does_not_overtake_a_deferred_one() {
    let replica = Replica::new();
    let holder = deliver(replica.acquire("a", 0).await.unwrap());
    let first = replica.queue("a", request(60_000)).await;
    let acquire = |wait_ms| {
        let service = replica.service.clone();
        tokio::spawn(async move { service.acquire(id("a"), request(wait_ms)).await })
    };
    let deferred = acquire(60_000);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let impatient = acquire(90);
    tokio::time::sleep(Duration::from_millis(1)).await;
    replica.release("a", holder).await.unwrap();
    let next = deliver(first.await.unwrap().unwrap());
    replica.release("a", next).await.unwrap();
    deliver(deferred.await.unwrap().unwrap());
    assert!(matches!(refusal(impatient.await.unwrap()), Refusal::NotGranted(_)));
}

/// However often the queue of a busy key is to be served, it is served once afterwards.
#[tokio::test(start_paused = true)]
async fn many_requests_to_serve_a_queue_cause_few_loads() {
    let replica = Replica::new();
    deliver(replica.acquire("a", 0).await.unwrap());
    let _waiter = replica.queue("a", request(60_000)).await;
    replica.store.load_ms.store(100, Ordering::Relaxed);
    let before = replica.store.loads.load(Ordering::Relaxed);
    for _ in 0..5_000 {
        replica.engine.shared.serve_queue(id("a")).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let loads = replica.store.loads.load(Ordering::Relaxed) - before;
    assert!(loads <= 5, "{loads} loads, those by the timers of the queue included");
}

/// Guards invariant 6: a hand-over after which the time is unknown does not leave the queue without a timer.
#[tokio::test(start_paused = true)]
async fn a_queue_has_a_timer_even_if_the_time_is_unknown() {
    let replica = Replica::new();
    let short = crate::AcquireRequest { lease_ms: Some(5_000), ..request(0) };
    deliver(replica.service.acquire(id("a"), short).await.unwrap());
    let pause = stand_still_after_the_next_commit(&replica, "a");
    let since = Instant::now();
    deliver(replica.acquire("a", 60_000).await.unwrap());
    pause.await.unwrap();
    assert!(since.elapsed() <= Duration::from_secs(6), "{:?}", since.elapsed());
}

/// Guards invariant 5: a command that a batch had no room for is not overtaken by those that arrive while that batch is
/// written.
#[tokio::test(start_paused = true)]
async fn a_command_without_room_in_a_batch_keeps_its_turn() {
    const BATCH: usize = 256;
    let replica = Replica::with_shards(&std::sync::Arc::new(super::MemoryStore::new()), 1);
    let holder = deliver(replica.acquire("a", 0).await.unwrap());
    replica.store.commit_ms.store(20, Ordering::Relaxed);
    let others = |name: &'static str| {
        for number in 0..BATCH {
            let service = replica.service.clone();
            tokio::spawn(async move { service.acquire(id(&format!("{name}-{number}")), request(0)).await });
        }
    };
    let acquire = || {
        let service = replica.service.clone();
        tokio::spawn(async move { service.acquire(id("a"), request(50)).await })
    };
    let release = replica.clone();
    let released = tokio::spawn(async move { release.release("a", holder).await });
    others("first");
    let early = acquire();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let late = acquire();
    tokio::time::sleep(Duration::from_millis(1)).await;
    others("second");
    released.await.unwrap().unwrap();
    deliver(early.await.unwrap().unwrap());
    assert!(matches!(refusal(late.await.unwrap()), Refusal::NotGranted(_)));
}
