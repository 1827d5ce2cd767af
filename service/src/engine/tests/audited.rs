//! The audit log: each change that was committed is recorded once, with its caller, whatever its caller was answered.

mod overwritten;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{MemoryStore, Replica, deliver, id, memory_store::Fault, options, request};
use crate::{
    AcquireRequest, Delivery, ServiceError, Unavailable,
    audit::{AuditLog, AuditOutput, Origin},
    domain::{Command, DataEdit, ForcedRelease, Kind, Reason, Release, Version},
    engine::ids,
};

/// Longer than a caller is kept waiting.
const TOO_LONG: Duration = Duration::from_secs(6);

/// A replica whose audit log is a file.
struct Audited {
    replica: Replica,
    folder: TempDir,
}

impl Audited {
    fn over(store: &Arc<MemoryStore>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::start(AuditOutput::File(folder.path().join("audit.jsonl"))).unwrap();
        Self { replica: Replica::start(store, options(1), log), folder }
    }

    fn new() -> Self {
        Self::over(&Arc::new(MemoryStore::new()))
    }

    /// Event, key, request id, status and reason of each record.
    fn records(&self) -> Vec<String> {
        self.replica.engine.audit().flush();
        let text = std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
        text.lines().map(|line| fields_of(&serde_json::from_str(line).unwrap())).collect()
    }

    /// The records that work adds.
    async fn added<T>(&self, work: impl Future<Output = T>) -> Vec<String> {
        let before = self.records().len();
        work.await;
        // Whatever follows from the work is done.
        tokio::time::sleep(TOO_LONG * 2).await;
        self.records().split_off(before)
    }
}

fn fields_of(record: &Value) -> String {
    let text = |name: &str| match &record[name] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => "-".to_owned(),
    };
    ["event", "key", "request_id", "status", "reason"].map(text).join(" ")
}

/// Lets work act for a request.
fn as_request<W: Future>(id: &str, work: W) -> impl Future<Output = W::Output> + use<W> {
    let origin = Arc::new(Origin::new([192, 0, 2, 7].into(), id.into()));
    origin.enter(|| Origin::carry(work))
}

async fn hold(replica: &Replica, key: &str, guarded: bool) -> Version {
    let ask = AcquireRequest { guarded, ..request(0) };
    deliver(replica.service.acquire(id(key), ask).await.unwrap())
}

async fn force(replica: &Replica, key: &str) -> Result<(), ServiceError> {
    let forced = ForcedRelease {
        kind: Kind::Mutex,
        version: None,
        data: DataEdit::Keep,
        delete_lock: false,
        by: None,
        reason: Some(Reason::new("stuck").unwrap()),
    };
    replica.service.force_release(id(key), forced).await.map(drop)
}

/// What callers change: of a lock `held` and another one `stuck`, a `free` one and one that is `new`, and semaphores.
async fn change_each(audited: &Audited, fault: impl Fn(&MemoryStore)) -> Vec<String> {
    let Replica { service, store, .. } = &audited.replica;
    let held = hold(&audited.replica, "held", false).await;
    hold(&audited.replica, "stuck", false).await;
    service.put_lock(id("free"), None, None).await.unwrap();
    service.put_semaphore(id("gone"), 1, None, None).await.unwrap();
    service.put_semaphore(id("large"), 1, None, None).await.unwrap();
    let is_unknown = |result: Result<(), ServiceError>| {
        let is_unknown = matches!(result, Err(ServiceError::Unavailable(Unavailable::UnknownOutcome)));
        assert!(is_unknown, "{result:?}");
        store.commit_ms.store(0, Ordering::Relaxed);
    };
    let mut added = Vec::new();
    let mut add =
        async |name: &str, work: &mut (dyn Future<Output = Result<(), ServiceError>> + Unpin + Send)| {
            fault(store);
            added.extend(audited.added(async { is_unknown(as_request(name, work).await) }).await);
        };
    let acquire = async { audited.replica.acquire("new", 0).await.map(Delivery::delivered) };
    let release = async { audited.replica.release("held", held).await.map(drop) };
    add("1", &mut Box::pin(acquire)).await;
    add("2", &mut Box::pin(release)).await;
    add("3", &mut Box::pin(force(&audited.replica, "stuck"))).await;
    add("4", &mut Box::pin(service.delete_lock(id("free"), None))).await;
    add("5", &mut Box::pin(service.delete_semaphore(id("gone")))).await;
    let resize = async { service.put_semaphore(id("large"), 2, None, None).await.map(drop) };
    add("6", &mut Box::pin(resize)).await;
    added
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_durable_after_its_caller_was_answered_503_has_its_caller() {
    let slow = |store: &MemoryStore| store.commit_ms.store(6_000, Ordering::Relaxed);
    let silent = |store: &MemoryStore| store.fail_next(Fault::AppliedSilent(TOO_LONG));
    let faults: [fn(&MemoryStore); 2] = [slow, silent];
    for fault in faults {
        let added = change_each(&Audited::new(), fault).await;
        let expected = [
            "granted new 1 503 -",
            "released new - - undelivered",
            "released held 2 503 -",
            "forced stuck 3 503 stuck",
            "deleted free 4 503 -",
            "deleted gone 5 503 -",
            "resized large 6 503 -",
        ];
        assert_eq!(added, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_lost_after_its_caller_was_answered_503_is_not_recorded() {
    let lost = |store: &MemoryStore| store.fail_next(Fault::LostSilent(TOO_LONG));
    assert!(change_each(&Audited::new(), lost).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_leaves_after_its_caller_was_answered_503_is_recorded_with_that_status() {
    let audited = Audited::new();
    let Replica { store, .. } = &audited.replica;
    hold(&audited.replica, "a", false).await;
    let wait = async {
        let slow = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            store.commit_ms.store(6_000, Ordering::Relaxed);
        };
        let (acquired, ()) = tokio::join!(as_request("1", audited.replica.acquire("a", 1_000)), slow);
        assert!(matches!(acquired, Err(ServiceError::Unavailable(Unavailable::UnknownOutcome))));
        store.commit_ms.store(0, Ordering::Relaxed);
    };
    assert_eq!(audited.added(wait).await, ["refused a 1 503 timed_out"]);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_ends_during_its_transaction_is_recorded_once_with_its_caller() {
    let audited = Audited::new();
    let replica = &audited.replica;
    let mut versions = Vec::new();
    for key in ["stuck", "done", "gone"] {
        versions.push(hold(replica, key, true).await);
    }
    let mut added = Vec::new();
    let mut add = async |work: &mut (dyn Future<Output = Result<(), ServiceError>> + Unpin + Send)| {
        replica.store.keeps_guard_rows.store(true, Ordering::Relaxed);
        let commit = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            replica.store.keeps_guard_rows.store(false, Ordering::Relaxed);
        };
        let ends = async { assert!(tokio::join!(work, commit).0.is_ok()) };
        added.extend(audited.added(ends).await);
    };
    add(&mut Box::pin(as_request("1", force(replica, "stuck")))).await;
    add(&mut Box::pin(as_request("2", async { replica.release("done", versions[1]).await.map(drop) }))).await;
    add(&mut Box::pin(as_request("3", replica.service.delete_lock(id("gone"), Some(versions[2]))))).await;
    let expected =
        ["forced stuck 1 - stuck", "released done 2 - -", "deleted gone 3 - -", "deleted gone 3 204 -"];
    assert_eq!(added, expected);
}

/// A sweep has recorded the end of the lease. The release that comes later ends nothing.
#[tokio::test(start_paused = true)]
async fn a_grant_whose_expiry_is_recorded_is_not_recorded_as_released() {
    let audited = Audited::new();
    let short = AcquireRequest { lease_ms: Some(1_000), ..request(0) };
    let version = deliver(audited.replica.service.acquire(id("a"), short).await.unwrap());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let note = Command::NoteExpiry { version };
    let noted = audited.replica.engine.shared.execute_all(vec![id("a")], &note);
    assert_eq!(audited.added(noted).await, ["expired a - - -"]);
    let release = async { audited.replica.release("a", version).await.unwrap() };
    assert_eq!(audited.added(release).await, Vec::<String>::new());
}

/// What such a release changes besides is on record.
#[tokio::test(start_paused = true)]
async fn a_grant_whose_expiry_is_recorded_is_recorded_as_released_if_that_deletes_the_lock_or_changes_data() {
    let audited = Audited::new();
    let changes = [(true, DataEdit::Keep), (false, DataEdit::Delete)];
    for (key, (delete_lock, data)) in ["a", "b"].into_iter().zip(changes) {
        let short = AcquireRequest { lease_ms: Some(1_000), ..request(0) };
        let version = deliver(audited.replica.service.acquire(id(key), short).await.unwrap());
        tokio::time::sleep(Duration::from_secs(2)).await;
        let note = Command::NoteExpiry { version };
        audited.replica.engine.shared.execute_all(vec![id(key)], &note).await;
        let release = Release { kind: Kind::Mutex, version, data, delete_lock };
        let release = async { audited.replica.service.release(id(key), release).await.unwrap() };
        let added = audited.added(as_request("1", release)).await;
        assert_eq!(added, [format!("released {key} 1 200 -")]);
    }
}

/// Commands that arrive together are decided together.
#[tokio::test(start_paused = true)]
async fn a_grant_in_the_change_in_which_its_wait_began_has_its_caller() {
    let audited = Audited::new();
    let Replica { engine, store, .. } = &audited.replica;
    let version = hold(&audited.replica, "a", false).await;
    let _waiter = audited.replica.queue("a", request(60_000)).await;
    let dead = ids::replica();
    store.adopt_head(&id("a"), dead);
    // The lock is offered to the dead replica, so the acquire waits.
    audited.replica.release("a", version).await.unwrap();
    let wait = async {
        let acquire = as_request("1", audited.replica.acquire("a", 10_000));
        let reap = Command::ReapReplica { replica: dead };
        let (acquired, _) = tokio::join!(acquire, engine.shared.execute_all(vec![id("a")], &reap));
        deliver(acquired.unwrap());
    };
    assert_eq!(audited.added(wait).await, ["granted a 1 200 -"]);
}

/// A deletion needs only a part of the permits.
#[tokio::test(start_paused = true)]
async fn each_expired_permit_is_recorded_when_its_semaphore_is_deleted() {
    const PERMITS: i32 = 600;
    let audited = Audited::new();
    let Replica { service, store, .. } = &audited.replica;
    service.put_semaphore(id("s"), PERMITS, None, None).await.unwrap();
    store.add_ended_permits(&id("s"), PERMITS);
    let delete = as_request("1", async { service.delete_semaphore(id("s")).await.unwrap() });
    let mut added = audited.added(delete).await;
    added.sort_unstable();
    assert_eq!(added.remove(0), "deleted s 1 204 -");
    assert_eq!(added, vec!["expired s - - -"; PERMITS as usize]);
}

/// Guards that a sweep does not read the rows before each step's again.
#[tokio::test(start_paused = true)]
async fn a_sweep_searches_each_permit_once_for_expired_grants() {
    const PERMITS: i32 = 6_000;
    let audited = Audited::new();
    let Replica { service, store, .. } = &audited.replica;
    service.put_semaphore(id("s"), PERMITS, None, None).await.unwrap();
    store.add_ended_permits(&id("s"), PERMITS);
    let sweep = tokio::time::sleep(Duration::from_secs(45));
    assert_eq!(audited.added(sweep).await, vec!["expired s - - -"; PERMITS as usize]);
    assert_eq!(store.searched.load(Ordering::Relaxed), PERMITS as u64);
}
