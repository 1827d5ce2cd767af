//! Floods: for seconds, more acquires than the database can write.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};

use super::{COMMIT, MAX_WAIT, data, key_of, large, replica, short_queue};
use crate::{
    Delivery, ServiceError, Unavailable,
    domain::{DataEdit, Kind},
    engine::tests::{Replica, deliver, id, request},
};

/// The acquires that can be written in a second: a batch of this data has 32 commands, and three batches are under way
/// at most.
const CAPACITY: usize = 32 * 3 * 20;

/// The duration of the flood.
const FLOOD: Duration = Duration::from_millis(1_500);

/// The numbers of answers by kind, and the time of the slowest answer.
#[derive(Debug, Default)]
struct Tally {
    granted: AtomicUsize,
    shed: AtomicUsize,
    slowest_ms: AtomicUsize,
}

impl Tally {
    fn note(&self, result: Result<Delivery, ServiceError>, took: Duration) {
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
