//! Deletion and creation of the same keys by two replicas at once, while the sweeper runs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::json;

use super::on_every_database;
use crate::support::{Client, Database, Fleet};

on_every_database![with_database:
    tokens_grow_while_two_replicas_delete_and_create_the_same_keys,
];

const KEYS: usize = 4;
const FOR: Duration = Duration::from_secs(5);

/// The tombstones of deleted keys are removed as soon as possible.
const SWEEPING: [(&str, &str); 3] = [
    ("DB_LOCKS_SWEEP_PERIOD_MS", "50"),
    ("DB_LOCKS_TOMBSTONE_RETENTION_MS", "200"),
    ("DB_LOCKS_FLOOR_SETTLE_MS", "1000"),
];

type LastTokens = Arc<Mutex<HashMap<String, i64>>>;

/// Guards invariant 2: tokens strictly grow through delete-and-create, concurrently, across replicas, past the sweeper.
pub(crate) async fn tokens_grow_while_two_replicas_delete_and_create_the_same_keys(database: Database) {
    let fleet = Fleet::start_with(database, 2, &SWEEPING).await;
    let last = LastTokens::default();
    let mut callers = Vec::new();
    for caller in 0..4 {
        callers.push(tokio::spawn(churn(fleet.at(caller), caller, last.clone())));
    }
    let mut grants = 0;
    for caller in callers {
        grants += caller.await.unwrap();
    }
    assert!(grants >= 50, "too few grants to have seen anything: {grants}");
}

/// Acquires and deletes keys in turn, in three ways. Returns the number of rounds.
async fn churn(svc: Client, caller: usize, last: LastTokens) -> usize {
    let begin = Instant::now();
    let mut grants = 0;
    for round in caller.. {
        if begin.elapsed() > FOR {
            break;
        }
        // Pauses at times, so that tombstones are swept in between.
        if round % 16 == 0 {
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        let key = format!("k{}", round % KEYS);
        let ask = json!({"wait_ms": 0, "lease_duration_ms": 60_000, "delete_on_release": round % 3 == 0});
        let answer = svc.acquire(&key, ask).await;
        if answer.status == 423 {
            continue;
        }
        let grant = answer.grant();
        let before = last.lock().unwrap().insert(key.clone(), grant.token);
        assert!(before.is_none_or(|before| grant.token > before), "{key}: {} after {before:?}", grant.token);
        grants += 1;
        let release = json!({"version": grant.version, "delete_lock": round % 3 == 1});
        match round % 3 {
            2 => drop(svc.delete(&format!("/locks/{key}?version={}", grant.version)).await.expect(204)),
            _ => drop(svc.post(&format!("/locks/{key}/release"), release).await.expect(200)),
        }
    }
    grants
}
