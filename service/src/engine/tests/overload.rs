//! Overload: which acquires are shed when more arrive than the database can write, which are not, and what follows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Context,
    time::Duration,
};

use futures_util::task::noop_waker_ref;
use tokio::{task::JoinHandle, time::Instant};

use super::{Replica, deliver, id, memory_store::MemoryStore, options, request};
use crate::{
    AcquireRequest, ServiceError, Unavailable,
    domain::{Data, DataEdit, Key, KeyId, Kind, Tenant},
    engine::EngineOptions,
};

/// How long a commit takes.
const COMMIT: Duration = Duration::from_millis(50);

/// How long acquires may wait for a batch.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// The acquires that can be written in a second: a batch of this data has 32 commands, and three batches are under way
/// at most.
const CAPACITY: usize = 32 * 3 * 20;

/// The duration of the flood.
const FLOOD: Duration = Duration::from_millis(1_500);

fn replica(options: EngineOptions) -> Replica {
    let store = Arc::new(MemoryStore::new());
    store.commit_ms.store(u64::try_from(COMMIT.as_millis()).unwrap(), Ordering::Relaxed);
    Replica::with_options(&store, options)
}

fn short_queue() -> EngineOptions {
    EngineOptions { max_queued: 100_000, max_queue_wait: MAX_WAIT, memory_bytes: 16 << 20, ..options(1) }
}

fn key_of(tenant: &str, key: usize) -> KeyId {
    KeyId { tenant: Tenant::new(tenant).unwrap(), key: Key::new(&key.to_string()).unwrap() }
}

fn large(data: &Data) -> AcquireRequest {
    AcquireRequest { data: Some(data.clone()), ..request(0) }
}

fn data() -> Data {
    Data::new(&"x".repeat(4 * 1024 - 256)).unwrap()
}

/// The numbers of answers by kind, and the time of the slowest answer.
#[derive(Debug, Default)]
struct Tally {
    granted: AtomicUsize,
    shed: AtomicUsize,
    slowest_ms: AtomicUsize,
}

impl Tally {
    fn note(&self, result: Result<crate::Delivery, ServiceError>, took: Duration) {
        match result {
            Ok(delivery) => {
                deliver(delivery);
                self.granted.fetch_add(1, Ordering::Relaxed);
            }
            Err(ServiceError::Unavailable(Unavailable::Overloaded)) => {
                self.shed.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => panic!("{error}"),
        }
        self.slowest_ms.fetch_max(usize::try_from(took.as_millis()).unwrap(), Ordering::Relaxed);
    }

    fn granted(&self) -> usize {
        self.granted.load(Ordering::Relaxed)
    }

    fn shed(&self) -> usize {
        self.shed.load(Ordering::Relaxed)
    }

    fn slowest(&self) -> Duration {
        Duration::from_millis(self.slowest_ms.load(Ordering::Relaxed) as u64)
    }
}

/// Sends `per_second` acquires of a tenant in steps of 5 ms, each on a key of its own, whether or not they are
/// answered.
fn flood(replica: &Replica, tenant: &'static str, per_second: usize) -> (Arc<Tally>, JoinHandle<()>) {
    let (tally, service, data) = (Arc::new(Tally::default()), replica.service.clone(), data());
    let answers = tally.clone();
    let task = tokio::spawn(async move {
        let mut calls = Vec::new();
        let end = Instant::now() + FLOOD;
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        while Instant::now() < end {
            pace.tick().await;
            for _ in 0..per_second / 200 {
                let (service, answers, request) = (service.clone(), answers.clone(), large(&data));
                let id = key_of(tenant, calls.len());
                calls.push(tokio::spawn(async move {
                    let since = Instant::now();
                    answers.note(service.acquire(id, request).await, since.elapsed());
                }));
            }
        }
        for call in calls {
            call.await.unwrap();
        }
    });
    (tally, task)
}

/// Sends heartbeats for a lock until `stop`. Returns the time of the slowest one.
fn beat(replica: &Replica, key: &'static str, stop: &Arc<AtomicBool>) -> JoinHandle<Duration> {
    let (replica, stop) = (replica.clone(), stop.clone());
    tokio::spawn(async move {
        let version = deliver(replica.acquire(key, 0).await.unwrap());
        let mut slowest = Duration::ZERO;
        while !stop.load(Ordering::Relaxed) {
            let since = Instant::now();
            let renewed = replica.service.heartbeat(id(key), Kind::Mutex, version, None, DataEdit::Keep);
            renewed.await.unwrap();
            slowest = slowest.max(since.elapsed());
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
        let since = Instant::now();
        replica.release(key, version).await.unwrap();
        slowest.max(since.elapsed())
    })
}

#[tokio::test(start_paused = true)]
async fn a_flood_sheds_acquires_that_would_wait_too_long_and_nothing_else() {
    let replica = replica(short_queue());
    let stop = Arc::new(AtomicBool::new(false));
    let heartbeats = beat(&replica, "held", &stop);
    let (tally, task) = flood(&replica, "flood", 10 * CAPACITY);
    task.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let slowest = heartbeats.await.unwrap();
    assert!(slowest <= Duration::from_millis(250), "a heartbeat took {slowest:?}");
    // An admitted acquire is answered within its maximum wait plus a check and its commit.
    assert!(tally.slowest() <= MAX_WAIT + Duration::from_millis(400), "{tally:?}");
    // The database was busy all the time: at least seven tenths of its capacity in 1.5 s were used.
    assert!(tally.granted() >= CAPACITY * 7 / 10 * 3 / 2, "{tally:?}");
    assert!(tally.shed() > 5 * tally.granted(), "{tally:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_flood_everything_is_as_before() {
    let replica = replica(short_queue());
    let (tally, task) = flood(&replica, "flood", 10 * CAPACITY);
    task.await.unwrap();
    assert!(tally.shed() > 0);
    tokio::time::sleep(COMMIT).await;
    for key in 0..20 {
        let since = Instant::now();
        deliver(replica.service.acquire(key_of("flood", 1_000_000 + key), request(0)).await.unwrap());
        assert!(since.elapsed() <= 3 * COMMIT, "{:?}", since.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn the_flood_of_a_tenant_sheds_no_acquire_of_another() {
    let replica = replica(short_queue());
    let (flooding, flood_task) = flood(&replica, "flood", 10 * CAPACITY);
    let (others, task) = flood(&replica, "other", 400);
    flood_task.await.unwrap();
    task.await.unwrap();
    assert!(flooding.shed() > 0 && others.granted() > 0);
    assert_eq!(others.shed(), 0, "{others:?}");
    assert!(others.slowest() <= Duration::from_millis(250), "{others:?}");
}

#[tokio::test(start_paused = true)]
async fn tenants_that_both_flood_get_the_same() {
    let replica = replica(short_queue());
    let (one, one_task) = flood(&replica, "one", 15 * CAPACITY);
    let (two, two_task) = flood(&replica, "two", 5 * CAPACITY);
    one_task.await.unwrap();
    two_task.await.unwrap();
    let difference = one.granted().abs_diff(two.granted());
    assert!(difference <= two.granted() / 5, "{one:?} {two:?}");
}

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
