//! Writes whose answer is lost, and newer writes of another replica that are acknowledged before the outcome is known.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;

use super::{MemoryStore, Replica, deliver, id, memory_store::Fault, refusal, request};
use crate::{
    AcquireRequest, ServiceError, Unavailable,
    domain::{Body, Data, DataEdit, Kind, LockView, Refusal, Version},
};

/// The time until the loss of the answer is noticed.
const SILENCE: Duration = Duration::from_secs(1);

/// The write was applied or not. Its answer must be right in both cases.
const FAULTS: [Fault; 2] = [Fault::AppliedSilent(SILENCE), Fault::LostSilent(SILENCE)];

/// Two replicas over one database.
struct Pair {
    one: Replica,
    two: Replica,
}

impl Pair {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        Self { one: Replica::over(&store), two: Replica::over(&store) }
    }

    /// Starts a call on the first replica whose commit meets the fault. Returns while its answer is outstanding.
    async fn begin<T: Send + 'static>(
        &self,
        fault: Fault,
        call: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
    ) -> JoinHandle<Result<T, ServiceError>> {
        self.one.store.fail_next(fault);
        let task = tokio::spawn(call);
        tokio::time::sleep(SILENCE / 4).await;
        task
    }

    fn data(&self, key: &str) -> Option<String> {
        match self.one.store.row(&id(key)).body {
            Body::Mutex(mutex) => mutex.data.map(|data| data.as_str().to_owned()),
            _ => None,
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as requests have their data")]
fn text(text: &str) -> Option<Data> {
    Some(Data::new(text).unwrap())
}

async fn beat(
    replica: &Replica,
    version: Version,
    lease_ms: Option<i64>,
    data: DataEdit,
) -> Result<LockView, ServiceError> {
    replica.service.heartbeat(id("a"), Kind::Mutex, version, lease_ms, data).await
}

fn is_unknown<T: std::fmt::Debug>(result: &Result<T, ServiceError>) -> bool {
    matches!(result, Err(ServiceError::Unavailable(Unavailable::UnknownOutcome)))
}

/// Guards invariant 3: an acknowledged write is not undone by an older one that is tried again.
#[tokio::test(start_paused = true)]
async fn a_put_is_not_applied_over_a_newer_one() {
    for fault in FAULTS {
        let pair = Pair::new();
        pair.two.service.put_lock(id("a"), text("first"), None).await.unwrap();
        let service = pair.one.service.clone();
        let old =
            pair.begin(fault, async move { service.put_lock(id("a"), text("older"), None).await }).await;
        let newer = pair.two.service.put_lock(id("a"), text("newer"), None).await;
        assert!(newer.is_ok(), "{fault:?}: {newer:?}");
        let old = old.await.unwrap();
        assert!(is_unknown(&old), "{fault:?}: {old:?}");
        assert_eq!(pair.data("a").as_deref(), Some("newer"), "{fault:?}");
    }
}

/// Guards invariant 3.
#[tokio::test(start_paused = true)]
async fn a_deletion_does_not_take_away_what_was_created_after_it() {
    for fault in FAULTS {
        let pair = Pair::new();
        pair.two.service.put_lock(id("a"), text("first"), None).await.unwrap();
        let service = pair.one.service.clone();
        let deletion = pair.begin(fault, async move { service.delete_lock(id("a"), None).await }).await;
        pair.two.service.put_lock(id("a"), text("newer"), None).await.unwrap();
        let deletion = deletion.await.unwrap();
        assert!(is_unknown(&deletion), "{fault:?}: {deletion:?}");
        assert_eq!(pair.data("a").as_deref(), Some("newer"), "{fault:?}");
    }
}

/// Guards invariant 3.
#[tokio::test(start_paused = true)]
async fn a_semaphore_keeps_its_newest_size() {
    for fault in FAULTS {
        let pair = Pair::new();
        pair.two.service.put_semaphore(id("a"), 1, None, None).await.unwrap();
        let service = pair.one.service.clone();
        let old = pair.begin(fault, async move { service.put_semaphore(id("a"), 5, None, None).await }).await;
        pair.two.service.put_semaphore(id("a"), 10, None, None).await.unwrap();
        let old = old.await.unwrap();
        assert!(is_unknown(&old), "{fault:?}: {old:?}");
        let view = pair.two.service.get_semaphore(id("a")).await.unwrap();
        assert_eq!(view.max_size, 10, "{fault:?}");
    }
}

/// Guards invariants 4 and 9: no caller is answered that it lost a lock which it had just released.
#[tokio::test(start_paused = true)]
async fn a_release_that_was_applied_before_another_grant_is_answered_as_done() {
    for kind in [Kind::Mutex, Kind::Semaphore] {
        let pair = Pair::new();
        if kind == Kind::Semaphore {
            pair.two.service.put_semaphore(id("a"), 1, None, None).await.unwrap();
        }
        let ask = AcquireRequest { kind, ..request(0) };
        let version = deliver(pair.one.service.acquire(id("a"), ask.clone()).await.unwrap());
        let one = pair.one.clone();
        let release = pair.begin(FAULTS[0], async move { one.release("a", version).await }).await;
        let next = deliver(pair.two.service.acquire(id("a"), ask).await.unwrap());
        let released = release.await.unwrap();
        assert!(released.as_ref().is_ok_and(|view| view.held.is_none()), "{kind:?}: {released:?}");
        pair.two.release("a", next).await.unwrap();
    }
}

/// Guards invariant 4: a release that was not applied is not reported as done when its lease is over and another owner
/// has the lock.
#[tokio::test(start_paused = true)]
async fn a_release_whose_outcome_cannot_be_known_is_unknown() {
    for fault in FAULTS {
        let pair = Pair::new();
        let short = AcquireRequest { lease_ms: Some(500), ..request(0) };
        let version = deliver(pair.one.service.acquire(id("a"), short).await.unwrap());
        let one = pair.one.clone();
        let release = pair.begin(fault, async move { one.release("a", version).await }).await;
        tokio::time::sleep(SILENCE / 2).await;
        deliver(pair.two.acquire("a", 0).await.unwrap());
        let released = release.await.unwrap();
        assert!(is_unknown(&released), "{fault:?}: {released:?}");
        assert!(matches!(refusal(pair.one.acquire("a", 0).await), Refusal::NotGranted(_)));
    }
}

/// Guards invariant 4: the data and the lease of a newer, acknowledged heartbeat are not undone.
#[tokio::test(start_paused = true)]
async fn a_heartbeat_is_not_applied_over_a_newer_one() {
    let older = [(Some(1_000), DataEdit::Keep), (None, DataEdit::Set(text("older").unwrap()))];
    for fault in FAULTS {
        for (lease_ms, data) in older.clone() {
            let pair = Pair::new();
            let version = deliver(pair.one.acquire("a", 0).await.unwrap());
            let one = pair.one.clone();
            let old = pair.begin(fault, async move { beat(&one, version, lease_ms, data).await }).await;
            let newer = DataEdit::Set(text("newer").unwrap());
            beat(&pair.two, version, Some(600_000), newer).await.unwrap();
            let old = old.await.unwrap();
            assert!(is_unknown(&old), "{fault:?}: {old:?}");
            let view = pair.two.service.get_lock(id("a")).await.unwrap();
            assert_eq!((view.lease_ms, view.data), (600_000, text("newer")), "{fault:?}");
            assert!(view.held.unwrap().expires_in_ms > 590_000);
        }
    }
}

/// A heartbeat that changes neither data nor lease undoes nothing. It is answered, whoever wrote the key meanwhile.
#[tokio::test(start_paused = true)]
async fn a_plain_heartbeat_is_answered_although_a_waiter_came_meanwhile() {
    for fault in FAULTS {
        let pair = Pair::new();
        let version = deliver(pair.one.acquire("a", 0).await.unwrap());
        let one = pair.one.clone();
        let beat = pair.begin(fault, async move { beat(&one, version, None, DataEdit::Keep).await }).await;
        let _waiter = pair.two.queue("a", request(60_000)).await;
        let renewed = beat.await.unwrap();
        assert!(renewed.is_ok(), "{fault:?}: {renewed:?}");
    }
}

/// Guards invariant 9: an acquire names its version, so its grant is found again, or it is decided again.
#[tokio::test(start_paused = true)]
async fn an_acquire_is_one_grant_although_a_waiter_came_meanwhile() {
    let pair = Pair::new();
    let one = pair.one.clone();
    let acquire = pair.begin(FAULTS[0], async move { one.acquire("a", 0).await.map(deliver) }).await;
    let waiter = pair.two.queue("a", request(60_000)).await;
    let version = acquire.await.unwrap().unwrap();
    assert_eq!(pair.one.store.row(&id("a")).token.0, 1);
    pair.one.release("a", version).await.unwrap();
    deliver(waiter.await.unwrap().unwrap());
}

/// A waiter that timed out gets that answer, although another replica wrote the key after it had left the queue.
#[tokio::test(start_paused = true)]
async fn a_waiter_whose_leave_was_overwritten_has_timed_out() {
    let pair = Pair::new();
    let version = deliver(pair.two.acquire("a", 0).await.unwrap());
    let waiter = pair.one.queue("a", request(500)).await;
    pair.one.store.fail_next(FAULTS[0]);
    tokio::time::sleep(Duration::from_millis(700)).await;
    beat(&pair.two, version, None, DataEdit::Keep).await.unwrap();
    let answer = waiter.await.unwrap();
    assert!(matches!(refusal(answer), Refusal::NotGranted(_)));
}
