//! Many requests at once: whose are refused, and which delay others.

use std::{sync::atomic::Ordering, task::Context, time::Duration};

use futures_util::task::noop_waker_ref;
use tokio::time::Instant;

use super::{data, key_of, large, replica, short_queue};
use crate::{
    ServiceError, Unavailable,
    engine::{
        EngineOptions,
        tests::{deliver, request},
    },
};

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_the_tenant_that_fills_it() {
    let replica = replica(EngineOptions { max_queued: 1_000, ..short_queue() });
    let call = |tenant: &'static str, key| {
        let service = replica.service.clone();
        tokio::spawn(async move { service.acquire(key_of(tenant, key), request(0)).await })
    };
    let flood: Vec<_> = (0..5_000).map(|key| call("flood", key)).collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let others: Vec<_> = (0..100).map(|key| call("other", key)).collect();
    let mut shed = 0;
    for call in flood {
        match call.await.unwrap() {
            Ok(delivery) => drop(deliver(delivery)),
            Err(ServiceError::Unavailable(Unavailable::Overloaded)) => shed += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!((3_000..=4_000).contains(&shed), "{shed}");
    for call in others {
        deliver(call.await.unwrap().unwrap());
    }
}

/// A connection looks at its answers in its turns. A client that floods the service waits for them for long.
#[tokio::test(start_paused = true)]
async fn answers_that_nobody_has_looked_at_fill_no_queue() {
    let replica = replica(EngineOptions { max_queued: 1, ..short_queue() });
    let flood: Vec<_> = (0..3_000)
        .map(|key| {
            let mut call = Box::pin(replica.service.acquire(key_of("flood", key), request(0)));
            assert!(call.as_mut().poll(&mut Context::from_waker(noop_waker_ref())).is_pending());
            call
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(10)).await;
    deliver(replica.service.acquire(key_of("other", 0), request(0)).await.unwrap());
    drop(flood);
}

#[tokio::test(start_paused = true)]
async fn a_short_rush_is_served_completely() {
    let replica = replica(short_queue());
    for key in 0..20 {
        deliver(replica.service.acquire(key_of("t", key), request(0)).await.unwrap());
    }
    let (service, data) = (replica.service.clone(), data());
    // Ten batches, which are written within the time that acquires may wait.
    let rush: Vec<_> = (100..740)
        .map(|key| {
            let (service, request) = (service.clone(), large(&data));
            tokio::spawn(async move { service.acquire(key_of("t", key), request).await })
        })
        .collect();
    for call in rush {
        deliver(call.await.unwrap().unwrap());
    }
}

/// A database that does not answer for a while is no overload: callers are answered when it goes on.
#[tokio::test(start_paused = true)]
async fn nothing_is_shed_because_a_commit_takes_long() {
    let replica = replica(short_queue());
    deliver(replica.acquire("a", 0).await.unwrap());
    replica.store.commit_ms.store(3_000, Ordering::Relaxed);
    let calls: Vec<_> = (0..50)
        .map(|key| {
            let service = replica.service.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(key as u64 * 10)).await;
                service.acquire(key_of("t", key), request(0)).await
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    replica.store.commit_ms.store(1, Ordering::Relaxed);
    for call in calls {
        deliver(call.await.unwrap().unwrap());
    }
}

/// Reads of locks are loaded, and the tenants take turns.
#[tokio::test(start_paused = true)]
async fn the_reads_of_a_tenant_do_not_delay_another_one() {
    let replica = replica(short_queue());
    replica.store.load_ms.store(50, Ordering::Relaxed);
    let look = |tenant: &'static str, key| {
        let service = replica.service.clone();
        tokio::spawn(async move {
            let since = Instant::now();
            let _ = service.get_lock(key_of(tenant, key)).await;
            since.elapsed()
        })
    };
    for key in 0..20_000 {
        look("flood", key);
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let took = look("other", 1).await.unwrap();
    assert!(took <= Duration::from_millis(300), "{took:?}");
    let since = Instant::now();
    deliver(replica.acquire("a", 0).await.unwrap());
    assert!(since.elapsed() <= Duration::from_millis(300), "{:?}", since.elapsed());
}
