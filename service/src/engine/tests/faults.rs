//! Commits that fail, or whose outcome is unknown.

use std::{sync::atomic::Ordering, time::Duration};

use super::{MemoryStore, Replica, chosen, deliver, id, memory_store::Fault, refusal, request};
use crate::{
    ServiceError, Unavailable,
    domain::{Body, Kind, Refusal},
    engine::ids,
};

/// Whether a key's lock is held.
fn is_held(store: &MemoryStore, key: &str) -> bool {
    let state = store.row(&id(key));
    matches!(&state.body, Body::Mutex(mutex) if mutex.grant.as_ref().is_some_and(|grant| !grant.released))
}

/// Guards invariant 9: after a lost answer the grant is found again, and nothing is granted twice.
#[tokio::test(start_paused = true)]
async fn an_acquire_whose_answer_was_lost_on_the_way_from_the_database_is_one_grant() {
    for fault in [Fault::AppliedUnknown, Fault::LostUnknown] {
        let replica = Replica::new();
        replica.store.fail_next(fault);
        let delivery = replica.acquire("a", 0).await.unwrap();
        assert_eq!(delivery.view().fencing_token.0, 1, "{fault:?}");
        let version = deliver(delivery);
        assert!(matches!(refusal(replica.acquire("a", 0).await), Refusal::NotGranted(_)));
        replica.release("a", version).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_answer_was_lost_is_answered_as_done() {
    for fault in [Fault::AppliedUnknown, Fault::LostUnknown] {
        let replica = Replica::new();
        let version = deliver(replica.acquire("a", 0).await.unwrap());
        replica.store.fail_next(fault);
        assert!(replica.release("a", version).await.unwrap().held.is_none(), "{fault:?}");
    }
}

/// Guards invariant 6: a hand-over that was committed without an answer still reaches the waiter.
#[tokio::test(start_paused = true)]
async fn a_hand_over_whose_answer_was_lost_reaches_the_waiter() {
    for fault in [Fault::AppliedUnknown, Fault::LostUnknown] {
        let replica = Replica::new();
        let version = deliver(replica.acquire("a", 0).await.unwrap());
        let waiter = replica.queue("a", request(30_000)).await;
        replica.store.fail_next(fault);
        replica.release("a", version).await.unwrap();
        deliver(waiter.await.unwrap().unwrap());
    }
}

/// A permit of a semaphore that is created in the same batch has to wait for the next batch.
#[tokio::test(start_paused = true)]
async fn a_command_that_needs_an_earlier_write_is_decided_after_it() {
    for fault in [None, Some(Fault::AppliedUnknown), Some(Fault::LostUnknown), Some(Fault::Transient)] {
        let replica = Replica::new();
        if let Some(fault) = fault {
            replica.store.fail_next(fault);
        }
        let permit = crate::AcquireRequest { kind: Kind::Semaphore, ..request(0) };
        let (put, got) = tokio::join!(
            replica.service.put_semaphore(id("a"), 2, None, None),
            replica.service.acquire(id("a"), permit),
        );
        put.unwrap();
        deliver(got.unwrap());
    }
}

/// A refused write fails its own commands, and none that were to be decided after it.
#[tokio::test(start_paused = true)]
async fn a_command_behind_a_refused_write_is_decided_without_it() {
    let replica = Replica::new();
    replica.store.fail_next(Fault::Refused);
    let permit = crate::AcquireRequest { kind: Kind::Semaphore, ..request(0) };
    let (put, got) = tokio::join!(
        replica.service.put_semaphore(id("a"), 2, None, None),
        replica.service.acquire(id("a"), permit),
    );
    assert!(matches!(put, Err(ServiceError::Unavailable(_))), "{put:?}");
    assert!(matches!(refusal(got), Refusal::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_deadlock_is_tried_again() {
    let replica = Replica::new();
    replica.store.fail_next(Fault::Transient);
    deliver(replica.acquire("a", 0).await.unwrap());
}

/// Guards invariant 2: what was loaded may be of a server that a standby without the last commits has replaced meanwhile.
#[tokio::test(start_paused = true)]
async fn a_load_during_which_the_epoch_was_raised_is_repeated() {
    let replica = Replica::new();
    deliver(replica.acquire("a", 0).await.unwrap());
    replica.store.load_ms.store(1_000, Ordering::Relaxed);
    let loads = || replica.store.loads.load(Ordering::Relaxed);
    let before = loads();
    let raise = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        replica.store.epoch.store(5, Ordering::Relaxed);
    };
    let (shown, ()) = tokio::join!(replica.service.get_lock(id("a")), raise);
    assert_eq!(shown.unwrap().fencing_token.0, 1);
    assert_eq!(loads() - before, 2);
}

/// One bad command does not fail its neighbours.
#[tokio::test(start_paused = true)]
async fn only_the_guilty_command_of_a_refused_batch_fails() {
    let replica = Replica::new();
    replica.store.fail_next(Fault::Poisoned("bad"));
    let tasks: Vec<_> = ["a", "b", "bad", "c", "d"]
        .into_iter()
        .map(|key| {
            let replica = replica.clone();
            (key, tokio::spawn(async move { replica.acquire(key, 0).await.map(deliver) }))
        })
        .collect();
    for (key, task) in tasks {
        let result = task.await.unwrap();
        assert_eq!(result.is_ok(), key != "bad", "{key}: {result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_is_answered_503_and_found_again_by_itself() {
    let replica = Replica::new();
    let version = deliver(replica.acquire("a", 0).await.unwrap());
    replica.store.away.store(true, Ordering::Relaxed);
    let failed = replica.release("a", version).await;
    assert!(matches!(failed, Err(ServiceError::Unavailable(_))));
    replica.store.away.store(false, Ordering::Relaxed);
    replica.release("a", version).await.unwrap();
}

/// Guards invariant 7: a caller that was answered 503 never holds the lock.
#[tokio::test(start_paused = true)]
async fn an_acquire_whose_outcome_stayed_unknown_is_given_back() {
    let replica = Replica::new();
    let version = deliver(replica.acquire("a", 0).await.unwrap());
    replica.release("a", version).await.unwrap();
    replica.store.fail_next(Fault::AppliedUnknown);
    let store = replica.store.clone();
    let outage = tokio::spawn(async move {
        while !is_held(&store, "a") {
            tokio::task::yield_now().await;
        }
        store.away.store(true, Ordering::Relaxed);
    });
    let failed = replica.acquire("a", 0).await;
    outage.await.unwrap();
    assert!(matches!(failed, Err(ServiceError::Unavailable(_))), "the outcome is unknown");
    replica.store.away.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(1)).await;
    deliver(replica.acquire("a", 0).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_loses_its_races_is_decided_in_the_end() {
    let store = std::sync::Arc::new(MemoryStore::new());
    let replicas = [Replica::over(&store), Replica::over(&store), Replica::over(&store)];
    let tasks: Vec<_> = (0..30)
        .map(|number: usize| {
            let replica = replicas[number % 3].clone();
            tokio::spawn(async move {
                let version = deliver(
                    replica.service.acquire(id("hot"), chosen(ids::version(), 60_000)).await.unwrap(),
                );
                replica.release("hot", version).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.row(&id("hot")).token.0, 30);
}

/// Guards invariant 7: a commit whose answer nobody receives leaves no grant.
#[tokio::test(start_paused = true)]
async fn a_commit_that_lands_after_its_caller_was_told_503_leaves_nobody_holding() {
    for after in [6, 8, 11, 30] {
        for fault in [Fault::Stuck(Duration::from_secs(after)), Fault::Astray(Duration::from_secs(after))] {
            let replica = Replica::new();
            replica.store.fail_next(fault);
            if let Ok(delivery) = replica.acquire("a", 0).await {
                replica.release("a", deliver(delivery)).await.unwrap();
            }
            tokio::time::sleep(Duration::from_secs(40)).await;
            assert!(!is_held(&replica.store, "a"), "{fault:?}: nobody knows of this grant");
        }
    }
}

/// Guards invariant 4: a refused heartbeat has not renewed the lease, and will not.
#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_was_refused_is_not_applied_afterwards() {
    let replica = Replica::new();
    let version = deliver(replica.acquire("a", 0).await.unwrap());
    // The lease ends while the heartbeat is stuck.
    tokio::time::sleep(Duration::from_millis(56_500)).await;
    replica.store.fail_next(Fault::Astray(Duration::from_secs(10)));
    let heartbeat =
        replica.service.heartbeat(id("a"), Kind::Mutex, version, None, crate::domain::DataEdit::Keep).await;
    assert!(heartbeat.is_err(), "{heartbeat:?}");
    tokio::time::sleep(Duration::from_secs(10)).await;
    deliver(replica.acquire("a", 0).await.unwrap());
}

/// Guards invariant 7 also if the database refuses to write over a write that may have been applied.
#[tokio::test(start_paused = true)]
async fn a_refusal_after_an_unknown_outcome_leaves_no_grant() {
    let replica = Replica::new();
    replica.store.fail_next(Fault::Astray(Duration::from_secs(8)));
    for _ in 0..8 {
        replica.store.fail_next(Fault::Refused);
    }
    assert!(replica.acquire("a", 0).await.is_err());
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!is_held(&replica.store, "a"), "nobody knows of this grant");
}

/// Guards invariant 6: a queue does not stop because the database refused a hand-over once.
#[tokio::test(start_paused = true)]
async fn a_hand_over_that_was_refused_is_tried_again() {
    let replica = Replica::new();
    let short = crate::AcquireRequest { lease_ms: Some(3_000), ..request(0) };
    deliver(replica.service.acquire(id("a"), short).await.unwrap());
    let waiter = replica.queue("a", request(60_000)).await;
    replica.store.fail_next(Fault::Refused);
    let since = tokio::time::Instant::now();
    deliver(waiter.await.unwrap().unwrap());
    assert!(since.elapsed() <= Duration::from_secs(5), "{:?}", since.elapsed());
}

/// Guards invariant 7: a grant does not stay because the database refused its return once.
#[tokio::test(start_paused = true)]
async fn a_grant_whose_return_was_refused_is_returned_all_the_same() {
    let replica = Replica::new();
    let delivery = replica.acquire("a", 0).await.unwrap();
    replica.store.fail_next(Fault::Refused);
    drop(delivery);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!is_held(&replica.store, "a"));
}

/// A key with inconsistent rows is an error for its callers, and for no others; it is never a free lock.
#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_read_is_refused_and_its_neighbours_are_not() {
    let replica = Replica::new();
    let version = deliver(replica.acquire("bad", 0).await.unwrap());
    deliver(replica.acquire("good", 0).await.unwrap());
    let waiter = replica.queue("bad", request(60_000)).await;
    replica.store.corrupt(id("bad"));
    // Longer than states are cached.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let since = tokio::time::Instant::now();
    let (bad, released, good, waits) = tokio::join!(
        replica.acquire("bad", 0),
        replica.release("bad", version),
        replica.service.get_lock(id("good")),
        async { waiter.await.unwrap() },
    );
    let unreadable = |error| matches!(error, Some(ServiceError::Unavailable(Unavailable::UnreadableKey)));
    assert!(unreadable(bad.err()) && unreadable(released.err()));
    assert!(good.is_ok(), "{good:?}");
    assert!(waits.is_err(), "the waiter times out and is answered");
    assert!(since.elapsed() <= Duration::from_secs(46), "{:?}", since.elapsed());
}
