//! Several replicas over one database.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{MemoryStore, Replica, chosen, deliver, id, request};
use crate::{
    domain::{Kind, ReplicaId, Version},
    engine::ids,
};

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
        // Released anywhere: any replica can hand over to any other.
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

/// A replica that is dead: it left a waiter at the head of the queue, and nothing of it moves any more.
fn reap_alive(store: &MemoryStore) -> ReplicaId {
    let dead = ids::replica();
    store.adopt_head(&id("a"), dead);
    dead
}

/// Guards invariant 6: the queue behind a killed replica moves.
#[tokio::test(start_paused = true)]
async fn the_queue_behind_a_dead_replica_moves_within_six_seconds() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    let holder = deliver(replica.acquire("a", 0).await.unwrap());
    let lost = replica.queue("a", request(600_000)).await;
    let waiter = replica.queue("a", request(60_000)).await;
    reap_alive(&store);
    let since = Instant::now();
    replica.release("a", holder).await.unwrap();
    deliver(waiter.await.unwrap().unwrap());
    assert!(since.elapsed() <= Duration::from_secs(6), "{:?}", since.elapsed());
    lost.abort();
}

/// Guards invariant 7: who lives and was only late keeps its waiters, those that came before and those that come after.
#[tokio::test(start_paused = true)]
async fn a_replica_whose_beat_was_late_is_not_dead_for_ever() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    let late = ids::replica();
    store.add_replica(late);
    let mut holders = Vec::new();
    for key in ["a", "b"] {
        holders.push(deliver(replica.acquire(key, 0).await.unwrap()));
        let _theirs = replica.queue(key, request(600_000)).await;
    }
    let _mine = replica.queue("b", request(600_000)).await;
    store.adopt_head(&id("a"), late);
    // It falls silent, and nothing can be written about that before it is heard again.
    store.is_contested.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let reapings = store.reapings.load(Ordering::Relaxed);
    assert!(reapings > 0, "it was taken for dead");
    for _ in 0..8 {
        store.beat_of(late);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(store.reapings.load(Ordering::Relaxed) <= reapings + 20, "its burial has ended");
    store.is_contested.store(false, Ordering::Relaxed);
    store.adopt_head(&id("b"), late);
    replica.release("b", holders[1]).await.unwrap();
    assert_eq!(store.row(&id("b")).queue.len, 2, "it lives, and is offered the lock");
}

/// Guards invariant 7: a slow audit lets nobody take this replica for dead.
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

/// Guards invariant 6: a replica without a listener does not wait for what nobody pushes to it.
#[tokio::test(start_paused = true)]
async fn who_is_no_member_any_more_is_not_pushed_to() {
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

/// However often a replica without a row is found, one reaping of it goes on at a time.
#[tokio::test(start_paused = true)]
async fn a_replica_is_buried_once_at_a_time() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    deliver(replica.acquire("a", 0).await.unwrap());
    let _first = replica.queue("a", request(600_000)).await;
    let _second = replica.queue("a", request(600_000)).await;
    let unknown = reap_alive(&store);
    store.forget(unknown);
    // Nothing is written, so that the reaping does not come to an end.
    store.is_contested.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(35)).await;
    let before = store.reapings.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let pieces = store.reapings.load(Ordering::Relaxed) - before;
    assert!((8..=11).contains(&pieces), "{pieces} pieces in ten seconds, each given up after a second");
}

/// A row that could not be removed at the first try does not stay for ever.
#[tokio::test(start_paused = true)]
async fn a_reaping_that_failed_is_taken_up_again() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    deliver(replica.acquire("a", 0).await.unwrap());
    let _waiter = replica.queue("a", request(600_000)).await;
    let dead = ids::replica();
    store.add_replica(dead);
    store.keeps_replicas.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(store.reapings.load(Ordering::Relaxed) > 0, "its burial has begun");
    store.keeps_replicas.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(!store.replicas().contains(&dead));
}

/// Guards invariant 6: who comes while a replica parts whose row is gone already gets a place that lasts.
#[tokio::test(start_paused = true)]
async fn a_replica_that_parts_does_not_come_back_without_a_row() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    let holder = deliver(replica.acquire("a", 0).await.unwrap());
    let waiter = replica.queue("a", request(60_000)).await;
    replica.release("a", holder).await.unwrap();
    let holder = deliver(waiter.await.unwrap().unwrap());
    let membership = &replica.engine.shared.membership;
    let me = membership.me().unwrap();
    while !membership.presence().is_leaving {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    store.forget(me);
    // Longer than it takes to stand in line: a place taken under the old identity would be lost with the next beat.
    store.beat_ms.store(200, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let waiter = replica.queue("a", request(60_000)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    replica.release("a", holder).await.unwrap();
    deliver(waiter.await.unwrap().unwrap());
    assert_ne!(membership.me(), Some(me));
}

/// Guards invariant 8: an outage kills no replica in the others' eyes.
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

/// Guards invariant 9: the same version, asked again elsewhere, is the same place and the same grant.
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

/// Who was superseded at another replica hears of it when its replica is told to look, and soon without that.
#[tokio::test(start_paused = true)]
async fn who_is_superseded_at_another_replica_hears_of_it_soon() {
    for is_told in [true, false] {
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
        if is_told {
            one.engine.shared.serve_queue(id("a")).await;
        }
        assert!(first.await.unwrap().is_err());
        let most = Duration::from_millis(if is_told { 10 } else { 1_100 });
        assert!(since.elapsed() <= most, "told: {is_told}, {:?}", since.elapsed());
    }
}

/// Guards invariant 8: a step of the database's clock grants nothing twice, and does not hold a lease for ever.
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

/// A key that is held by this replica, with a queue of nobody but waiters of a dead one.
async fn queue_of_the_dead(replica: &Replica, kind: Kind, count: usize) -> (Version, ReplicaId) {
    if kind == Kind::Semaphore {
        replica.service.put_semaphore(id("a"), 1, None, None).await.unwrap();
    }
    let ask = crate::AcquireRequest { kind, ..request(0) };
    let holder = deliver(replica.service.acquire(id("a"), ask).await.unwrap());
    let dead = ids::replica();
    replica.store.add_waiters(&id("a"), dead, count);
    (holder, dead)
}

/// Guards invariant 6: dead waiters keep a free lock from nobody for longer than one offer lasts.
#[tokio::test(start_paused = true)]
async fn a_queue_of_nobody_but_the_dead_is_in_the_way_for_one_offer() {
    for kind in [Kind::Mutex, Kind::Semaphore] {
        let store = Arc::new(MemoryStore::new());
        let replica = Replica::over(&store);
        let (holder, _) = queue_of_the_dead(&replica, kind, 20).await;
        replica.release("a", holder).await.unwrap();
        let since = Instant::now();
        let ask = || crate::AcquireRequest { kind, ..request(0) };
        let taken = loop {
            if let Ok(delivery) = replica.service.acquire(id("a"), ask()).await {
                break deliver(delivery);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert!(since.elapsed() <= Duration::from_millis(2_300), "{kind:?}: {:?}", since.elapsed());
        // Nobody waits anywhere, and still they are taken out of the queue.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(store.row(&id("a")).queue.len, 0, "{kind:?}");
        replica.release("a", taken).await.unwrap();
    }
}

/// A key that stands beside a queue of suspects is looked at now and then, and not all the time.
#[tokio::test(start_paused = true)]
async fn a_free_lock_beside_suspects_is_not_looked_at_all_the_time() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    let (holder, _) = queue_of_the_dead(&replica, Kind::Mutex, 5).await;
    replica.release("a", holder).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let before = store.loads.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let loads = store.loads.load(Ordering::Relaxed) - before;
    assert!(loads <= 10, "{loads} loads");
}

/// Guards invariant 5: a replica that lives, and let an offer lapse, is offered the lock again when its beat is seen.
#[tokio::test(start_paused = true)]
async fn a_suspect_that_beats_is_offered_the_lock_again() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    let (holder, silent) = queue_of_the_dead(&replica, Kind::Mutex, 3).await;
    replica.release("a", holder).await.unwrap();
    let offered = || store.offers_to(silent);
    assert_eq!(offered(), 1);
    // It beats and claims nothing: one offer after another lapses, with the time between that its beats take to be seen.
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        store.beat_of(silent);
        if store.row(&id("a")).queue.len == 1 && offered() == 1 {
            return;
        }
    }
    panic!("its last waiter is not offered the lock");
}

/// The replica that sweeps removes those whose beat has stopped although nobody waits at it, or anywhere.
#[tokio::test(start_paused = true)]
async fn the_sweeper_reaps_replicas_that_have_stopped() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    let dead = ids::replica();
    store.add_replica(dead);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(store.replicas().is_empty() && replica.engine.shared.membership.me().is_none());
}

/// A replica that stops does not keep the others from sweeping until its lease ends.
#[tokio::test(start_paused = true)]
async fn a_replica_that_stops_gives_up_the_sweepers_lease() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(store.sweeper().is_some());
    replica.engine.drain(Duration::from_secs(4)).await;
    assert_eq!(store.sweeper(), None);
}

/// Guards invariant 6: one who began to wait just when its replica began to leave is handed the lock all the same.
#[tokio::test(start_paused = true)]
async fn who_waits_at_a_replica_that_is_leaving_is_served() {
    let store = Arc::new(MemoryStore::new());
    let (replica, other) = (Replica::over(&store), Replica::over(&store));
    let holder = deliver(replica.acquire("b", 0).await.unwrap());
    let waiter = replica.queue("b", request(60_000)).await;
    replica.release("b", holder).await.unwrap();
    deliver(waiter.await.unwrap().unwrap());
    let holder = deliver(other.acquire("a", 0).await.unwrap());
    let membership = &replica.engine.shared.membership;
    // Its commit is under way when the replica, at which nobody waits yet, begins to leave.
    let begin = Instant::now() + Duration::from_millis(29_900);
    tokio::time::sleep_until(begin).await;
    replica.service.get_lock(id("a")).await.unwrap();
    store.commit_ms.store(2_500, Ordering::Relaxed);
    let waiter = tokio::spawn({
        let replica = replica.clone();
        async move { replica.acquire("a", 60_000).await }
    });
    while !membership.presence().is_leaving {
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

/// Guards invariant 5: whose offer was committed late has its time to claim it all the same.
#[tokio::test(start_paused = true)]
async fn a_slow_commit_of_an_offer_costs_nobody_its_place() {
    let store = Arc::new(MemoryStore::new());
    let (one, two) = (Replica::over(&store), Replica::over(&store));
    let holder = deliver(one.acquire("a", 0).await.unwrap());
    let waiter = two.queue("a", request(60_000)).await;
    store.commit_ms.store(2_500, Ordering::Relaxed);
    one.release("a", holder).await.unwrap();
    deliver(waiter.await.unwrap().unwrap());
}
