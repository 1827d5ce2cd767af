//! The limits of waiters hold however many acquires are decided at a time, and whatever becomes of their writes.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::task::JoinHandle;

use super::{
    Replica, deliver,
    memory_store::{Fault, MemoryStore},
    options, request,
};
use crate::{
    Delivery, ServiceError, Unavailable,
    domain::{Key, KeyId, Tenant},
    engine::EngineOptions,
};

/// The limits of all waiters and of one tenant's.
const MOST: usize = 200;
const MOST_PER_TENANT: usize = 100;

type Call = JoinHandle<Result<Delivery, ServiceError>>;

fn replica() -> Replica {
    let store = Arc::new(MemoryStore::new());
    let limits = EngineOptions {
        max_waiters: MOST,
        max_waiters_per_tenant: MOST_PER_TENANT,
        max_queued: 100_000,
        max_queue_wait: Duration::from_mins(1),
        ..options(2)
    };
    Replica::with_options(&store, limits)
}

fn key_of(tenant: &str, key: usize) -> KeyId {
    KeyId { tenant: Tenant::new(tenant).unwrap(), key: Key::new(&key.to_string()).unwrap() }
}

/// Takes the locks of these keys, so that others have to wait for them.
async fn hold(replica: &Replica, tenant: &str, keys: usize) {
    for key in 0..keys {
        deliver(replica.service.acquire(key_of(tenant, key), request(0)).await.unwrap());
    }
}

/// Begins acquires that wait for each of these keys.
fn wait(replica: &Replica, tenant: &str, keys: usize, each: usize) -> Vec<Call> {
    let begin = |number| {
        let (service, id) = (replica.service.clone(), key_of(tenant, number % keys));
        tokio::spawn(async move { service.acquire(id, request(600_000)).await })
    };
    (0..keys * each).map(begin).collect()
}

/// The number of acquires that were refused because of a limit, and the number of those that wait.
async fn refused(calls: Vec<Call>) -> (usize, Vec<Call>) {
    let (mut refused, mut waiting) = (0, Vec::new());
    for call in calls {
        if !call.is_finished() {
            waiting.push(call);
            continue;
        }
        match call.await.unwrap().map(deliver) {
            Err(ServiceError::Unavailable(Unavailable::TenantWaiters | Unavailable::ProcessWaiters)) => {
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    (refused, waiting)
}

async fn settle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Guards that ten tenants together leave something to others, even if all of their acquires are decided in one batch.
#[tokio::test(start_paused = true)]
async fn a_burst_of_many_tenants_exceeds_no_limit_and_leaves_room_to_another() {
    let replica = replica();
    let tenants: Vec<_> = (0..10).map(|number| format!("hostile{number}")).collect();
    for tenant in &tenants {
        hold(&replica, tenant, 4).await;
    }
    hold(&replica, "victim", 1).await;
    replica.store.commit_ms.store(100, Ordering::Relaxed);
    let calls: Vec<_> = tenants.iter().flat_map(|tenant| wait(&replica, tenant, 4, 25)).collect();
    let total = calls.len();
    settle().await;
    let (refused, waiting) = refused(calls).await;
    assert_eq!(refused + waiting.len(), total);
    let count = replica.engine.waiters();
    assert!(count == waiting.len() && count < MOST, "{count} wait, {refused} are refused");
    let victim = wait(&replica, "victim", 1, 1);
    settle().await;
    assert!(!victim[0].is_finished() && replica.engine.waiters() == count + 1);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_one_tenant_has_as_many_waiters_as_it_may_have() {
    let replica = replica();
    hold(&replica, "t", 7).await;
    replica.store.commit_ms.store(100, Ordering::Relaxed);
    let calls = wait(&replica, "t", 7, 50);
    settle().await;
    let (refused, waiting) = refused(calls).await;
    assert_eq!((waiting.len(), refused), (MOST_PER_TENANT, 250));
}

/// Whatever becomes of the first write of acquires that wait, the room for them is neither lost nor taken twice.
#[tokio::test(start_paused = true)]
async fn room_is_given_back_after_every_fault() {
    let faults = [
        Fault::AppliedUnknown,
        Fault::LostUnknown,
        Fault::LostSilent(Duration::from_secs(1)),
        Fault::AppliedSilent(Duration::from_secs(8)),
        Fault::Stuck(Duration::from_secs(8)),
        Fault::Astray(Duration::from_secs(8)),
        Fault::Refused,
        Fault::Transient,
    ];
    for fault in faults {
        let replica = replica();
        hold(&replica, "t", 3).await;
        for _ in 0..3 {
            replica.store.fail_next(fault);
        }
        assert_room_comes_back(&replica, &format!("{fault:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn room_is_given_back_after_an_outage_lost_races_and_a_row_that_was_locked() {
    let replica = replica();
    hold(&replica, "t", 3).await;
    for (what, store) in [
        ("away", &replica.store.away),
        ("frozen", &replica.store.is_frozen),
        ("contested", &replica.store.is_contested),
    ] {
        store.store(true, Ordering::Relaxed);
        let calls = wait(&replica, "t", 3, 10);
        tokio::time::sleep(Duration::from_secs(3)).await;
        store.store(false, Ordering::Relaxed);
        assert_all_leave(&replica, calls, what).await;
    }
    replica.store.lock_row(&key_of("t", 0), Duration::from_secs(3), true);
    assert_room_comes_back(&replica, "locked").await;
}

#[tokio::test(start_paused = true)]
async fn room_is_given_back_when_the_service_stops() {
    let replica = replica();
    hold(&replica, "t", 3).await;
    replica.store.commit_ms.store(100, Ordering::Relaxed);
    let calls = wait(&replica, "t", 3, 10);
    tokio::time::sleep(Duration::from_millis(50)).await;
    replica.engine.drain(Duration::from_secs(4)).await;
    for call in calls {
        assert!(call.await.unwrap().is_err());
    }
    assert_eq!(replica.engine.shared.waiting.room_taken(), (0, 0));
}

/// Lets acquires wait and then hang up.
async fn assert_room_comes_back(replica: &Replica, what: &str) {
    let calls = wait(replica, "t", 3, 10);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_all_leave(replica, calls, what).await;
}

async fn assert_all_leave(replica: &Replica, calls: Vec<Call>, what: &str) {
    let taken = || replica.engine.shared.waiting.room_taken();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let waiters = replica.engine.waiters();
    assert_eq!(taken(), (waiters, usize::from(waiters > 0)), "{what}: each waiter takes one place");
    calls.iter().for_each(Call::abort);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((replica.engine.waiters(), taken()), (0, (0, 0)), "{what}");
}
