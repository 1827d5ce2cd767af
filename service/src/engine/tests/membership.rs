//! Replicas that join, stop, die and come back.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{MemoryStore, Replica, deliver, id, request};
use crate::{
    domain::{ReplicaId, Version},
    engine::ids,
};

/// Makes the head of the queue of `a` a waiter of a dead replica.
fn give_head_to_a_dead_replica(store: &MemoryStore) -> ReplicaId {
    let dead = ids::replica();
    store.adopt_head(&id("a"), dead);
    dead
}

/// A replica that holds `a` and `b`, beside one whose heartbeats are late; with the version of `b`.
async fn beside_a_late_replica() -> (Arc<MemoryStore>, Replica, ReplicaId, Version) {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    let late = ids::replica();
    store.add_replica(late);
    deliver(replica.acquire("a", 0).await.unwrap());
    let b = deliver(replica.acquire("b", 0).await.unwrap());
    (store, replica, late, b)
}

/// Guards invariant 6: a queue does not stop because a replica was killed.
#[tokio::test(start_paused = true)]
async fn the_queue_behind_a_dead_replica_moves_within_six_seconds() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    let holder = deliver(replica.acquire("a", 0).await.unwrap());
    let lost = replica.queue("a", request(600_000)).await;
    let waiter = replica.queue("a", request(60_000)).await;
    give_head_to_a_dead_replica(&store);
    let since = Instant::now();
    replica.release("a", holder).await.unwrap();
    deliver(waiter.await.unwrap().unwrap());
    assert!(since.elapsed() <= Duration::from_secs(6), "{:?}", since.elapsed());
    lost.abort();
}

/// Guards invariant 7: a replica that is alive and was only late keeps its waiters, earlier and later ones.
#[tokio::test(start_paused = true)]
async fn a_replica_whose_beat_was_late_is_not_dead_for_ever() {
    let (store, replica, late, b) = beside_a_late_replica().await;
    for key in ["a", "b"] {
        let _theirs = replica.queue(key, request(600_000)).await;
    }
    let _mine = replica.queue("b", request(600_000)).await;
    store.adopt_head(&id("a"), late);
    // It sends no heartbeats, and nothing can be written until it sends them again.
    store.is_contested.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let reapings = store.reapings.load(Ordering::Relaxed);
    assert!(reapings > 0, "the replica was declared dead");
    for _ in 0..8 {
        store.beat_of(late);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(store.reapings.load(Ordering::Relaxed) <= reapings + 20, "nobody reaps any more");
    store.is_contested.store(false, Ordering::Relaxed);
    store.adopt_head(&id("b"), late);
    replica.release("b", b).await.unwrap();
    assert_eq!(store.row(&id("b")).queue.len, 2, "the replica is alive and is offered the lock");
}

/// Guards invariant 7: no replica declares this one dead because of a slow check of waiters.
#[tokio::test(start_paused = true)]
async fn slow_audits_do_not_delay_the_beat() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    deliver(replica.acquire("a", 0).await.unwrap());
    let _waiter = replica.queue("a", request(600_000)).await;
    store.count_ms.store(4_900, Ordering::Relaxed);
    let before = store.beats();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(store.beats() - before >= 19, "{} beats in 20 s", store.beats() - before);
}

/// Guards invariant 6: a replica without a listener does not rely on pushed notifications.
#[tokio::test(start_paused = true)]
async fn a_replica_that_has_left_does_not_rely_on_pushed_notifications() {
    let store = Arc::new(MemoryStore::new());
    store.pushes.store(true, Ordering::Relaxed);
    let replica = Replica::over(&store);
    let holder = deliver(replica.acquire("a", 0).await.unwrap());
    let waiter = replica.queue("a", request(600_000)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let is_pushed = || replica.engine.shared.membership.is_pushed.load(Ordering::Relaxed);
    assert!(is_pushed());
    replica.release("a", holder).await.unwrap();
    deliver(waiter.await.unwrap().unwrap());
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(!is_pushed());
}

/// However often a replica without a row is found, one task reaps it at a time.
#[tokio::test(start_paused = true)]
async fn a_replica_is_reaped_by_one_task_at_a_time() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    deliver(replica.acquire("a", 0).await.unwrap());
    let _first = replica.queue("a", request(600_000)).await;
    let _second = replica.queue("a", request(600_000)).await;
    let unknown = give_head_to_a_dead_replica(&store);
    store.forget(unknown);
    // No write succeeds, so the reaping does not end.
    store.is_contested.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(35)).await;
    let before = store.reapings.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let pieces = store.reapings.load(Ordering::Relaxed) - before;
    assert!((8..=11).contains(&pieces), "{pieces} pieces in ten seconds, each given up after a second");
}

/// Guards invariant 7: a replica that declared another one dead, and lost its own row before it saw a heartbeat, does
/// not believe it forever.
#[tokio::test(start_paused = true)]
async fn a_replica_that_was_declared_dead_itself_looks_again_at_the_others() {
    let (store, replica, late, b) = beside_a_late_replica().await;
    let waiter = replica.queue("a", request(600_000)).await;
    let membership = &replica.engine.shared.membership;
    store.keeps_replicas.store(true, Ordering::Relaxed);
    while !membership.dead().contains(&late) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    store.forget(membership.me().unwrap());
    assert!(waiter.await.unwrap().is_err(), "this replica was declared dead, too");
    for _ in 0..5 {
        store.beat_of(late);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(membership.me(), None, "nobody waits here");
    store.add_waiters(&id("b"), late, 1);
    replica.release("b", b).await.unwrap();
    assert_eq!(store.row(&id("b")).queue.len, 1, "the other replica is alive and is offered the lock");
}

/// A row that could not be removed at the first try is removed later.
#[tokio::test(start_paused = true)]
async fn a_reaping_that_failed_is_tried_again() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    deliver(replica.acquire("a", 0).await.unwrap());
    let _waiter = replica.queue("a", request(600_000)).await;
    let dead = ids::replica();
    store.add_replica(dead);
    store.keeps_replicas.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(store.reapings.load(Ordering::Relaxed) > 0, "somebody reaps");
    store.keeps_replicas.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(!store.replicas().contains(&dead));
}

/// Guards invariant 6: a waiter that comes while a replica without a row leaves gets a place that lasts.
#[tokio::test(start_paused = true)]
async fn a_leaving_replica_without_a_row_joins_as_a_new_incarnation() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    let holder = deliver(replica.acquire("a", 0).await.unwrap());
    let waiter = replica.queue("a", request(60_000)).await;
    replica.release("a", holder).await.unwrap();
    let holder = deliver(waiter.await.unwrap().unwrap());
    let membership = &replica.engine.shared.membership;
    let me = membership.me().unwrap();
    while !membership.registration().is_leaving {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    store.forget(me);
    // Longer than it takes to join the queue: a place taken as the old incarnation would be lost with the next
    // heartbeat.
    store.beat_ms.store(200, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let waiter = replica.queue("a", request(60_000)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    replica.release("a", holder).await.unwrap();
    deliver(waiter.await.unwrap().unwrap());
    assert_ne!(membership.me(), Some(me));
}

/// The replica that sweeps removes dead replicas even if nobody waits there or anywhere else.
#[tokio::test(start_paused = true)]
async fn the_sweeper_reaps_replicas_that_have_stopped() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    let dead = ids::replica();
    store.add_replica(dead);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(store.replicas().is_empty() && replica.engine.shared.membership.me().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_step_of_a_sweep_that_fails_does_not_keep_the_others_from_being_carried_out() {
    let store = Arc::new(MemoryStore::new());
    store.hides_ended.store(true, Ordering::Relaxed);
    let _replica = Replica::over(&store);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(store.tombstone_searches.load(Ordering::Relaxed), 1);
}

/// A replica that stops lets another one sweep at once.
#[tokio::test(start_paused = true)]
async fn a_replica_that_stops_gives_up_the_sweepers_lease() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(store.sweeper().is_some());
    replica.engine.drain(Duration::from_secs(4)).await;
    assert_eq!(store.sweeper(), None);
}
