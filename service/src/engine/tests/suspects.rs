//! Replicas that let an offer lapse.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{MemoryStore, Replica, deliver, id, request};
use crate::{
    domain::{Kind, ReplicaId, Version},
    engine::ids,
};

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
