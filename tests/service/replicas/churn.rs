//! Deletion and creation of the same keys by two replicas at once, while the sweeper runs.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::task::JoinSet;

use super::on_every_database;
use crate::support::{
    Client, Database, Fleet, TRIES, go_on_until_enough, tries::Growth, try_until_undisturbed,
};

on_every_database![with_database:
    tokens_grow_while_two_replicas_delete_and_create_the_same_keys,
];

const KEYS: usize = 4;
const FOR: Duration = Duration::from_secs(5);

/// Longer than any acquire of this test, unless the machine is very busy.
const SETTLE: Duration = Duration::from_secs(1);

/// The tombstones of deleted keys are removed as soon as possible.
const SWEEPING: [(&str, &str); 3] = [
    ("DB_LOCKS_SWEEP_PERIOD_MS", "50"),
    ("DB_LOCKS_TOMBSTONE_RETENTION_MS", "200"),
    ("DB_LOCKS_FLOOR_SETTLE_MS", "1000"),
];

/// What happened so far.
#[derive(Default)]
struct Progress {
    last: Mutex<HashMap<String, i64>>,
    growth: Growth,
    grants: AtomicUsize,
    over: AtomicBool,
}

/// Guards invariant 2: tokens strictly grow through delete-and-create, concurrently, across replicas, past the sweeper.
pub(crate) async fn tokens_grow_while_two_replicas_delete_and_create_the_same_keys(database: Database) {
    let fleet = Fleet::start_with(database, 2, &SWEEPING).await;
    try_until_undisturbed(TRIES, async || {
        let progress = Arc::new(Progress::default());
        let mut callers = JoinSet::new();
        for caller in 0..4 {
            callers.spawn(churn(fleet.at(caller), caller, progress.clone()));
        }
        let is_enough = || progress.grants.load(Ordering::Relaxed) >= 50 || progress.growth.has_fallen();
        go_on_until_enough("enough grants to have seen anything", FOR, is_enough).await;
        progress.over.store(true, Ordering::Relaxed);
        callers.join_all().await;
        progress.growth.check(SETTLE)
    })
    .await;
}

/// Acquires and deletes keys in turn, in three ways.
async fn churn(svc: Client, caller: usize, progress: Arc<Progress>) {
    for round in caller.. {
        if progress.over.load(Ordering::Relaxed) {
            break;
        }
        // Pauses at times, so that tombstones are swept in between.
        if round % 16 == 0 {
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        let key = format!("k{}", round % KEYS);
        let ask = json!({"wait_ms": 0, "lease_duration_ms": 60_000, "delete_on_release": round % 3 == 0});
        let since = Instant::now();
        let answer = svc.acquire(&key, ask).await;
        progress.growth.took(since);
        if answer.status == 423 {
            continue;
        }
        let grant = answer.grant();
        let before = progress.last.lock().unwrap().insert(key.clone(), grant.token);
        progress.growth.granted(&key, grant.token, before.unwrap_or(0));
        progress.grants.fetch_add(1, Ordering::Relaxed);
        let release = json!({"version": grant.version, "delete_lock": round % 3 == 1});
        match round % 3 {
            2 => drop(svc.delete(&format!("/locks/{key}?version={}", grant.version)).await.expect(204)),
            _ => drop(svc.post(&format!("/locks/{key}/release"), release).await.expect(200)),
        }
    }
}
