//! Replicas that let an offer lapse.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{MemoryStore, Replica, deliver, id, request};
use crate::{
    domain::{DataEdit, Key, KeyId, Kind, Release, ReplicaId, Tenant, Version},
    engine::ids,
};

/// Makes a key that this replica holds, with a queue of waiters of a dead replica only.
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

/// Guards invariant 6: dead waiters block a free lock no longer than one offer lasts.
#[tokio::test(start_paused = true)]
async fn a_queue_of_dead_waiters_blocks_a_lock_for_one_offer() {
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
        // No replica has waiters, and still the dead ones are removed from the queue.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(store.row(&id("a")).queue.len, 0, "{kind:?}");
        replica.release("a", taken).await.unwrap();
    }
}

/// A free lock with a queue of suspects is looked at now and then, and not all the time.
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

/// Otherwise a tenant whose requests wait for long at another replica would delay all locks whose waiters are there.
#[tokio::test(start_paused = true)]
async fn a_replica_that_lets_an_offer_of_one_tenant_lapse_is_offered_locks_of_others() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    let (holder, silent) = queue_of_the_dead(&replica, Kind::Mutex, 2).await;
    let ids = ["b", "c"].map(|key| KeyId { tenant: Tenant::trusted("other"), key: Key::trusted(key) });
    let mut holders = Vec::new();
    for other in &ids {
        holders.push(deliver(replica.service.acquire(other.clone(), request(0)).await.unwrap()));
        store.add_waiters(other, silent, 1);
    }
    let release = async |id: &KeyId, version| {
        let release = Release { kind: Kind::Mutex, version, data: DataEdit::Keep, delete_lock: false };
        replica.service.release(id.clone(), release).await.unwrap();
        store.offers_to(silent)
    };
    replica.release("a", holder).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(
        store.offers_to(silent),
        0,
        "it is a suspect, and nothing more of this tenant is offered to it"
    );
    assert_eq!(release(&ids[0], holders[0]).await, 1);
    assert_eq!(release(&ids[1], holders[1]).await, 2);
}

/// Guards invariant 5: a replica that is alive and let an offer lapse is offered the lock again when its heartbeat is
/// seen.
#[tokio::test(start_paused = true)]
async fn a_suspect_that_beats_is_offered_the_lock_again() {
    let store = Arc::new(MemoryStore::new());
    let replica = Replica::over(&store);
    let (holder, silent) = queue_of_the_dead(&replica, Kind::Mutex, 3).await;
    replica.release("a", holder).await.unwrap();
    let offered = || store.offers_to(silent);
    assert_eq!(offered(), 1);
    // The replica sends heartbeats and claims nothing. One offer after another lapses, and between them its heartbeats
    // have to be seen.
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        store.beat_of(silent);
        if store.row(&id("a")).queue.len == 1 && offered() == 1 {
            return;
        }
    }
    panic!("its last waiter is not offered the lock");
}
