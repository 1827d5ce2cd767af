//! Writes whose answer is lost, and whose row another replica has written before their outcome is known.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Audited, as_request, deliver, force, hold};
use crate::{
    AcquireRequest, Delivery, ServiceError,
    domain::{DataEdit, Kind, Version},
    engine::tests::{
        id,
        memory_store::{Fault, MemoryStore},
        request,
    },
};

/// The time until the loss of the answer is noticed.
const SILENCE: Duration = Duration::from_secs(1);
const APPLIED: Fault = Fault::AppliedSilent(SILENCE);
const LOST: Fault = Fault::LostSilent(SILENCE);

/// Two replicas over one database.
struct Pair {
    one: Audited,
    two: Audited,
}

impl Pair {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        Self { one: Audited::over(&store), two: Audited::over(&store) }
    }

    /// The records that each replica adds if the first one's answer from the database is lost, and the second one
    /// writes the key before that is noticed.
    async fn added<T, O>(
        &self,
        fault: Fault,
        work: impl Future<Output = T>,
        other: impl Future<Output = O>,
    ) -> [Vec<String>; 2] {
        self.one.replica.store.fail_next(fault);
        let other = async {
            tokio::time::sleep(SILENCE / 4).await;
            other.await
        };
        let of_two = self.two.records().len();
        let both = async { tokio::join!(as_request("1", work), as_request("2", other)) };
        let one = self.one.added(Box::pin(both)).await;
        [one, self.two.records().split_off(of_two)]
    }

    async fn beat(&self, version: Version) -> Result<(), ServiceError> {
        let service = &self.two.replica.service;
        service.heartbeat(id("a"), Kind::Mutex, version, None, DataEdit::Keep).await.map(drop)
    }
}

const fn none() -> Vec<String> {
    Vec::new()
}

#[tokio::test(start_paused = true)]
async fn a_grant_is_recorded_although_a_waiter_came_meanwhile() {
    let pair = Pair::new();
    let acquire = async { deliver(pair.one.replica.acquire("a", 0).await.unwrap()) };
    let waiter = pair.two.replica.queue("a", request(60_000));
    assert_eq!(pair.added(APPLIED, acquire, waiter).await, [vec!["granted a 1 - -".to_owned()], none()]);
}

#[tokio::test(start_paused = true)]
async fn a_release_is_recorded_although_the_lock_was_granted_or_written_since() {
    for grants in [true, false] {
        let pair = Pair::new();
        let (one, two) = (&pair.one.replica, &pair.two.replica);
        let version = hold(one, "a", false).await;
        let release = async { one.release("a", version).await.unwrap() };
        let other = async {
            if grants {
                two.acquire("a", 0).await.map(Delivery::delivered)
            } else {
                two.service.put_lock(id("a"), None, None).await.map(drop)
            }
        };
        let [of_one, of_two] = pair.added(APPLIED, release, other).await;
        // If the lock has no other grant yet, its row shows what became of the release before it is answered.
        assert_eq!(of_one, [if grants { "released a 1 200 -" } else { "released a 1 - -" }]);
        assert_eq!(of_two, vec!["granted a 2 200 -"; usize::from(grants)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_forced_release_without_version_is_recorded_although_its_answer_is_unknown() {
    let pair = Pair::new();
    hold(&pair.one.replica, "a", false).await;
    let forced = async { assert!(force(&pair.one.replica, "a").await.is_err()) };
    let put = pair.two.replica.service.put_lock(id("a"), None, None);
    assert_eq!(pair.added(APPLIED, forced, put).await, [vec!["forced a 1 - stuck".to_owned()], none()]);
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_is_recorded_with_both_callers() {
    let pair = Pair::new();
    let one = &pair.one.replica;
    let version = hold(one, "a", false).await;
    let waiter = {
        let one = one.clone();
        tokio::spawn(as_request("3", async move { deliver(one.acquire("a", 60_000).await.unwrap()) }))
    };
    while one.store.row(&id("a")).queue.len == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let release = async { one.release("a", version).await.unwrap() };
    let other = pair.two.replica.queue("a", request(60_000));
    let added = pair.added(APPLIED, release, other).await;
    assert_eq!(added, [vec!["released a 1 - -".to_owned(), "granted a 3 - -".to_owned()], none()]);
    waiter.await.unwrap();
}

/// A write that was not applied is recorded when it is made, by whom it is made.
#[tokio::test(start_paused = true)]
async fn nothing_is_recorded_twice() {
    let pair = Pair::new();
    let (one, two) = (&pair.one.replica, &pair.two.replica);
    let version = hold(one, "a", false).await;
    let release = async { one.release("a", version).await.unwrap() };
    let added = pair.added(LOST, release, pair.beat(version)).await;
    assert_eq!(added, [vec!["released a 1 200 -".to_owned()], none()]);

    let version = hold(one, "a", false).await;
    let release = async { one.release("a", version).await.unwrap() };
    let added = pair.added(LOST, release, async { two.release("a", version).await.unwrap() }).await;
    assert_eq!(added, [none(), vec!["released a 2 200 -".to_owned()]]);
}

/// A caller that has gone may have repeated its release at another replica, and its lock may have been granted since.
#[tokio::test(start_paused = true)]
async fn a_release_that_was_repeated_elsewhere_is_not_recorded_again() {
    let pair = Pair::new();
    let two = &pair.two.replica;
    let version = hold(&pair.one.replica, "a", false).await;
    let release = async {
        let release = pair.one.replica.release("a", version);
        assert!(tokio::time::timeout(SILENCE / 8, release).await.is_err(), "its caller hangs up");
    };
    let repeat = async {
        two.release("a", version).await.unwrap();
        deliver(two.acquire("a", 0).await.unwrap())
    };
    let [of_one, of_two] = pair.added(LOST, release, repeat).await;
    assert_eq!(of_one, none());
    assert_eq!(of_two, ["released a 2 200 -", "granted a 2 200 -"]);
}

/// Both releases leave the same row, since the lease had ended before.
#[tokio::test(start_paused = true)]
async fn a_release_of_an_expired_grant_is_recorded_by_who_made_it() {
    let pair = Pair::new();
    let two = &pair.two.replica;
    let short = AcquireRequest { lease_ms: Some(500), ..request(0) };
    let version = deliver(pair.one.replica.service.acquire(id("a"), short).await.unwrap());
    tokio::time::sleep(SILENCE).await;
    let release = async { pair.one.replica.release("a", version).await.unwrap() };
    let added = pair.added(LOST, release, async { two.release("a", version).await.unwrap() }).await;
    assert_eq!(added, [none(), vec!["released a 2 200 -".to_owned()]]);
}

/// The earlier write is applied late, while the next one of its task loses its race, and another replica writes the key before
/// the task is decided under the database's lock.
#[tokio::test(start_paused = true)]
async fn what_is_found_under_the_database_s_lock_is_recorded() {
    let pair = Pair::new();
    let store = &pair.one.replica.store;
    let two = &pair.two.replica;
    deliver(two.acquire("b", 0).await.unwrap());
    let _registered = two.queue("b", request(60_000)).await;
    store.commit_ms.store(400, Ordering::Relaxed);
    store.is_contested.store(true, Ordering::Relaxed);
    let acquire = async {
        let call = pair.one.replica.acquire("a", 0);
        let ends = async {
            // Two races are lost.
            tokio::time::sleep(Duration::from_millis(900)).await;
            store.is_contested.store(false, Ordering::Relaxed);
        };
        assert!(tokio::join!(call, ends).0.is_err());
    };
    // The third write fails at 6.2 s, and is applied at 6.3 s. The next one, sent at 6.2 s, finds the row written at 6.6 s.
    store.fail_next(Fault::Astray(Duration::from_millis(5_100)));
    let other = async {
        tokio::time::sleep(Duration::from_millis(6_400)).await;
        store.commit_ms.store(0, Ordering::Relaxed);
        let _waiter = two.queue("a", request(60_000)).await;
    };
    let one = pair.one.added(async { tokio::join!(as_request("1", acquire), other) }).await;
    assert_eq!(one, ["granted a 1 503 -", "released a - - undelivered"]);
}
