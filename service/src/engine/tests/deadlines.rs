//! Every caller is answered in time, whatever the database does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{MemoryStore, Replica, deliver, id, memory_store::Fault, refusal, request};
use crate::{
    ServiceError,
    domain::{Body, DataEdit, Kind, Refusal, Version},
    engine::ids,
};

/// The maximum time until a caller is answered.
const IN_TIME: Duration = Duration::from_millis(5_500);

/// A way in which a database fails.
type Trouble = fn(&MemoryStore) -> &AtomicBool;

const TROUBLES: [(&str, Trouble); 4] = [
    ("refuses connections", |store| &store.away),
    ("answers nothing", |store| &store.is_black_hole),
    ("hangs with every write", |store| &store.is_frozen),
    ("lets every write lose its race", |store| &store.is_contested),
];

/// The answer to a call, which must arrive in time.
async fn in_time<T>(call: impl Future<Output = Result<T, ServiceError>>) -> Result<T, ServiceError> {
    tokio::time::timeout(IN_TIME, call).await.expect("it is answered in time")
}

async fn heartbeat(replica: &Replica, key: &str, version: Version) -> Result<(), ServiceError> {
    let renewed = replica.service.heartbeat(id(key), Kind::Mutex, version, None, DataEdit::Keep).await;
    renewed.map(drop)
}

#[tokio::test(start_paused = true)]
async fn whatever_the_database_does_a_write_is_answered_in_time() {
    for (name, trouble) in TROUBLES {
        let replica = Replica::new();
        let version = deliver(replica.acquire("held", 0).await.unwrap());
        trouble(&replica.store).store(true, Ordering::Relaxed);
        let (acquired, released, put) = tokio::join!(
            in_time(replica.acquire("new", 0)),
            in_time(replica.release("held", version)),
            in_time(replica.service.put_lock(id("put"), None, None)),
        );
        assert!(acquired.is_err() && released.is_err() && put.is_err(), "it {name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_engines_own_commands_for_a_key_do_not_keep_callers_waiting() {
    for (name, trouble) in TROUBLES {
        let replica = Replica::new();
        let version = deliver(replica.acquire("a", 0).await.unwrap());
        let waiter = replica.queue("a", request(600_000)).await;
        trouble(&replica.store).store(true, Ordering::Relaxed);
        // The lease ends, and from then on the key is busy with the engine's own commands.
        tokio::time::sleep(Duration::from_secs(90)).await;
        let (got, renewed, acquired) = tokio::join!(
            in_time(replica.service.get_lock(id("a"))),
            in_time(heartbeat(&replica, "a", version)),
            in_time(replica.acquire("a", 0)),
        );
        assert!(got.is_err() && renewed.is_err() && acquired.is_err(), "it {name}");
        trouble(&replica.store).store(false, Ordering::Relaxed);
        deliver(tokio::time::timeout(Duration::from_secs(10), waiter).await.unwrap().unwrap().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_time_is_up_is_not_kept_until_the_database_is_back() {
    for (name, trouble) in TROUBLES {
        let replica = Replica::new();
        deliver(replica.acquire("a", 0).await.unwrap());
        let waiter = replica.queue("a", request(1_000)).await;
        trouble(&replica.store).store(true, Ordering::Relaxed);
        let answer = tokio::time::timeout(Duration::from_secs(1) + IN_TIME, waiter).await;
        let answer = answer.expect("it is answered in time").unwrap();
        assert!(matches!(answer, Err(ServiceError::Unavailable(_))), "it {name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_backlog_of_loads_keeps_nobody_waiting() {
    let replica = Replica::new();
    replica.store.is_black_hole.store(true, Ordering::Relaxed);
    let calls: Vec<_> = (0..3_000)
        .map(|number| {
            let service = replica.service.clone();
            tokio::spawn(async move { in_time(service.get_lock(id(&number.to_string()))).await })
        })
        .collect();
    for call in calls {
        assert!(matches!(call.await.unwrap(), Err(ServiceError::Unavailable(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_is_loaded_before_thousands_of_reads() {
    let replica = Replica::new();
    let version = deliver(replica.acquire("a", 0).await.unwrap());
    // Longer than states are cached: the heartbeat needs a load.
    tokio::time::sleep(Duration::from_secs(20)).await;
    replica.store.load_ms.store(100, Ordering::Relaxed);
    for number in 0..5_000 {
        let service = replica.service.clone();
        tokio::spawn(async move { service.get_lock(id(&number.to_string())).await });
        if number % 100 == 0 {
            // Each hundred is gathered by itself and waits for a load.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let since = Instant::now();
    heartbeat(&replica, "a", version).await.unwrap();
    assert!(since.elapsed() <= Duration::from_millis(250), "{:?}", since.elapsed());
}

/// Guards invariants 7 and 2: the tombstone is swept an hour after this write, and not at once.
#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_for_a_key_without_a_row_leaves_a_young_tombstone() {
    let replica = Replica::new();
    // Behind another commit the acquire's own begins late, so its caller has gone when that commit is given up.
    replica.store.fail_next(Fault::Astray(Duration::from_secs(30)));
    replica.store.fail_next(Fault::Astray(Duration::from_secs(30)));
    assert!(in_time(replica.acquire("a", 0)).await.is_err());
    tokio::time::sleep(Duration::from_secs(6)).await;
    let row = replica.store.row(&id("a"));
    assert!(row.row_version.is_some() && matches!(row.body, Body::Absent));
    assert!(replica.store.clock().ms_since(row.updated_at) <= 2_000, "{:?}", row.updated_at);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(matches!(replica.store.row(&id("a")).body, Body::Absent));
}

/// Guards invariant 9: after a 503 a repeat finds the grant, or there is none.
#[tokio::test(start_paused = true)]
async fn after_the_trouble_everything_works_as_before() {
    for (name, trouble) in TROUBLES {
        let store = Arc::new(MemoryStore::new());
        let replica = Replica::over(&store);
        let version = deliver(replica.acquire("a", 0).await.unwrap());
        trouble(&store).store(true, Ordering::Relaxed);
        assert!(in_time(replica.release("a", version)).await.is_err());
        let chosen = super::chosen(ids::version(), 0);
        assert!(in_time(replica.service.acquire(id("b"), chosen.clone())).await.is_err());
        trouble(&store).store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(6)).await;
        replica.release("a", version).await.unwrap();
        deliver(replica.acquire("a", 0).await.unwrap());
        deliver(replica.service.acquire(id("b"), chosen).await.unwrap());
        let held = refusal(replica.acquire("b", 0).await);
        assert!(matches!(held, Refusal::NotGranted(_)), "it {name}");
    }
}

/// Guards invariant 7: the time for an answer is not longer because the place in the queue was written late.
#[tokio::test(start_paused = true)]
async fn a_waiter_whose_place_was_written_late_is_answered_in_time() {
    let replica = Replica::new();
    deliver(replica.acquire("a", 0).await.unwrap());
    replica.store.commit_ms.store(4_000, Ordering::Relaxed);
    let asked = Instant::now();
    let waiter = replica.queue("a", request(10)).await;
    assert!(asked.elapsed() >= Duration::from_secs(4), "the place was written late");
    replica.store.is_frozen.store(true, Ordering::Relaxed);
    waiter.await.unwrap().map(drop).unwrap_err();
    assert!(asked.elapsed() <= IN_TIME, "{:?}", asked.elapsed());
}
