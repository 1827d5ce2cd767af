//! Several replicas over one database.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{MemoryStore, Replica, chosen, deliver, id, request};
use crate::engine::ids;

/// Guards invariant 5 across replicas.
#[tokio::test(start_paused = true)]
async fn the_order_holds_across_replicas() {
    let store = Arc::new(MemoryStore::new());
    let replicas = [Replica::over(&store), Replica::over(&store), Replica::over(&store)];
    let mut holder = deliver(replicas[0].acquire("a", 0).await.unwrap());
    let mut waiters = Vec::new();
    for number in 0..30 {
        waiters.push(replicas[number % 3].queue("a", request(60_000)).await);
    }
    for (number, waiter) in waiters.into_iter().enumerate() {
        // Any replica can release the lock and hand it over to any other.
        replicas[(number + 1) % 3].release("a", holder).await.unwrap();
        let since = Instant::now();
        holder = deliver(waiter.await.unwrap().unwrap());
        assert!(
            since.elapsed() <= Duration::from_millis(1_100),
            "hand-over {number} took {:?}",
            since.elapsed()
        );
    }
}

/// Guards invariant 8: after an outage no replica takes another one for dead.
#[tokio::test(start_paused = true)]
async fn waiters_survive_a_database_that_was_away_for_ten_seconds() {
    let store = Arc::new(MemoryStore::new());
    let (one, two) = (Replica::over(&store), Replica::over(&store));
    let holder = deliver(one.acquire("a", 0).await.unwrap());
    let first = one.queue("a", request(60_000)).await;
    let second = two.queue("a", request(60_000)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    store.away.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(10)).await;
    store.away.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(5)).await;
    two.release("a", holder).await.unwrap();
    let version = deliver(first.await.unwrap().unwrap());
    one.release("a", version).await.unwrap();
    deliver(second.await.unwrap().unwrap());
}

/// Guards invariant 9: a repeat at another replica gets the same place and the same grant.
#[tokio::test(start_paused = true)]
async fn a_place_can_be_taken_over_at_another_replica() {
    let store = Arc::new(MemoryStore::new());
    let (one, two) = (Replica::over(&store), Replica::over(&store));
    let holder = deliver(one.acquire("a", 0).await.unwrap());
    let version = ids::version();
    let first = one.queue("a", chosen(version, 60_000)).await;
    let behind = one.queue("a", request(60_000)).await;
    first.abort();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let again = tokio::spawn({
        let two = two.clone();
        async move { two.service.acquire(id("a"), chosen(version, 60_000)).await }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    one.release("a", holder).await.unwrap();
    assert_eq!(deliver(again.await.unwrap().unwrap()), version);
    behind.abort();
}

/// A waiter that was superseded at another replica is answered at once if its replica is notified, and soon otherwise.
#[tokio::test(start_paused = true)]
async fn a_waiter_that_was_superseded_at_another_replica_is_answered_soon() {
    for is_notified in [true, false] {
        let store = Arc::new(MemoryStore::new());
        let (one, two) = (Replica::over(&store), Replica::over(&store));
        deliver(one.acquire("a", 0).await.unwrap());
        let version = ids::version();
        let first = one.queue("a", chosen(version, 60_000)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let row_version = store.row(&id("a")).row_version;
        let _again = tokio::spawn({
            let two = two.clone();
            async move { two.service.acquire(id("a"), chosen(version, 60_000)).await }
        });
        while store.row(&id("a")).row_version == row_version {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let since = Instant::now();
        if is_notified {
            one.engine.shared.serve_queue(id("a")).await;
        }
        assert!(first.await.unwrap().is_err());
        let most = Duration::from_millis(if is_notified { 10 } else { 1_100 });
        assert!(since.elapsed() <= most, "notified: {is_notified}, {:?}", since.elapsed());
    }
}

/// Guards invariant 8: a step of the database's clock grants nothing twice, and does not hold a lease forever.
#[tokio::test(start_paused = true)]
async fn a_clock_that_stepped_back_does_not_prolong_leases() {
    let replica = Replica::new();
    deliver(replica.acquire("a", 0).await.unwrap());
    replica.store.clock_offset_ms.fetch_sub(3_600_000, Ordering::Relaxed);
    let since = Instant::now();
    deliver(replica.acquire("a", 120_000).await.unwrap());
    let waited = since.elapsed();
    assert!(waited >= Duration::from_secs(59) && waited <= Duration::from_secs(65), "{waited:?}");
}

/// Guards invariant 6: a waiter that joined just when its replica began to leave still gets the lock.
#[tokio::test(start_paused = true)]
async fn a_waiter_at_a_leaving_replica_is_served() {
    let store = Arc::new(MemoryStore::new());
    let (replica, other) = (Replica::over(&store), Replica::over(&store));
    let holder = deliver(replica.acquire("b", 0).await.unwrap());
    let waiter = replica.queue("b", request(60_000)).await;
    replica.release("b", holder).await.unwrap();
    deliver(waiter.await.unwrap().unwrap());
    let holder = deliver(other.acquire("a", 0).await.unwrap());
    let membership = &replica.engine.shared.membership;
    // The commit of the waiter is under way when the replica, which has no waiters yet, begins to leave.
    let begin = Instant::now() + Duration::from_millis(29_900);
    tokio::time::sleep_until(begin).await;
    replica.service.get_lock(id("a")).await.unwrap();
    store.commit_ms.store(2_500, Ordering::Relaxed);
    let waiter = tokio::spawn({
        let replica = replica.clone();
        async move { replica.acquire("a", 60_000).await }
    });
    while !membership.registration().is_leaving {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while store.row(&id("a")).queue.len == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    store.commit_ms.store(0, Ordering::Relaxed);
    other.release("a", holder).await.unwrap();
    let since = Instant::now();
    deliver(waiter.await.unwrap().unwrap());
    assert!(since.elapsed() <= Duration::from_secs(2), "{:?}", since.elapsed());
}

/// Guards invariant 5: a waiter whose offer was committed late still has the full time to claim it.
#[tokio::test(start_paused = true)]
async fn a_slow_commit_of_an_offer_costs_no_waiter_its_place() {
    let store = Arc::new(MemoryStore::new());
    let (one, two) = (Replica::over(&store), Replica::over(&store));
    let holder = deliver(one.acquire("a", 0).await.unwrap());
    let waiter = two.queue("a", request(60_000)).await;
    store.commit_ms.store(2_500, Ordering::Relaxed);
    one.release("a", holder).await.unwrap();
    deliver(waiter.await.unwrap().unwrap());
}
