//! Callers that hang up at the moment of their grant.

use std::time::{Duration, Instant};

use serde_json::json;

use super::on_every_database;
use crate::support::{Client, Database, Fleet, SOON, wire::Call};

on_every_database![with_database:
    a_caller_that_hangs_up_at_the_moment_of_its_grant_leaves_the_lock_free,
];

/// A hundred rounds: the number of keys at the same time, and the rounds of each.
const KEYS: usize = 20;
const ROUNDS: usize = 5;
const LEASE: Duration = Duration::from_secs(2);

/// Guards invariant 7: a caller that hung up holds no lock, unless the answer had reached its socket. Then the lease
/// ends it.
async fn a_caller_that_hangs_up_at_the_moment_of_its_grant_leaves_the_lock_free(database: Database) {
    let fleet = Fleet::start(database, 2).await;
    let mut rounds = Vec::new();
    for key in 0..KEYS {
        rounds.push(tokio::spawn(hang_up_at_the_grant(format!("k{key}"), fleet.at(key), fleet.at(key / 2))));
    }
    for round in rounds {
        round.await.unwrap();
    }
}

async fn hang_up_at_the_grant(key: String, holder: Client, waiter: Client) {
    for _ in 0..ROUNDS {
        let held = holder.hold(&key).await;
        let lease_ms = u64::try_from(LEASE.as_millis()).unwrap();
        let ask = json!({"wait_ms": 30_000, "lease_duration_ms": lease_ms});
        let call = Call::post(&waiter, &format!("/locks/{key}/acquire"), &ask).await;
        holder.until_waiters(&format!("/locks/{key}"), 1).await;
        let hesitate = Duration::from_micros(rand::random_range(0..15_000));
        let (released, ()) = tokio::join!(holder.release(&key, &held.version), async {
            tokio::time::sleep(hesitate).await;
            call.hang_up();
        });
        released.unheld(200);
        let begin = Instant::now();
        let next =
            holder.acquire(&key, json!({"wait_ms": 30_000, "lease_duration_ms": 60_000})).await.grant();
        // An offer that a replica does not claim is passed on after 2 s. Nothing takes longer than both. A busy machine
        // may, but not as long as the wait.
        assert!(begin.elapsed() < SOON, "free only after {:?}", begin.elapsed());
        holder.release(&key, &next.version).await.unheld(200);
        holder.lock(&key).await.unheld(200);
    }
}
