//! Callers whose connection was cut, and that repeat the request with their version at any replica.

use serde_json::{Value, json};

use super::on_every_database;
use crate::support::{
    Database, Fleet, random_version,
    wire::{Call, the_one_that_waits},
};

on_every_database![with_database:
    a_place_is_found_again_at_another_replica,
    a_grant_that_was_not_delivered_is_found_again_at_another_replica,
];

fn ask(version: &str) -> Value {
    json!({"version": version, "wait_ms": 30_000, "lease_duration_ms": 60_000})
}

/// Guards invariants 5, 7 and 9: the place is kept, and a late clean-up of the first connection does not affect the
/// second.
async fn a_place_is_found_again_at_another_replica(database: Database) {
    let fleet = Fleet::start(database, 2).await;
    for round in 0..5 {
        let key = format!("k{round}");
        let path = format!("/locks/{key}/acquire");
        let held = fleet.at(0).hold(&key).await;
        let version = random_version();
        let cut = Call::post(&fleet.at(0), &path, &ask(&version)).await;
        fleet.at(0).until_waiters(&format!("/locks/{key}"), 1).await;
        let behind = fleet.at(0).queue_up(&key, json!({"wait_ms": 30_000}), 2).await;
        // Sent at once, so that the clean-up of the first connection may come before or after.
        cut.hang_up();
        let again = Call::post(&fleet.at(1), &path, &ask(&version)).await;
        // This proves that the waiter is attached: either the waiter or its repeat supersedes the other.
        let once_more = Call::post(&fleet.at(round + 1), &path, &ask(&version)).await;
        let waiting = the_one_that_waits(again, once_more).await;
        fleet.at(0).release(&key, &held.version).await.unheld(200);
        assert_eq!(waiting.answer().await.grant().version, version);
        assert!(!behind.is_finished(), "it kept its place before the one behind");
        fleet.at(1).heartbeat(&key, &version).await.grant();
        fleet.at(1).release(&key, &version).await.unheld(200);
        behind.await.unwrap().grant();
    }
}

/// Guards invariants 7 and 9: the grant is kept for the caller for 10 s, and only then given back.
async fn a_grant_that_was_not_delivered_is_found_again_at_another_replica(database: Database) {
    let fleet = Fleet::start(database, 2).await;
    let held = fleet.at(0).hold("k").await;
    let version = random_version();
    let cut = Call::post(&fleet.at(0), "/locks/k/acquire", &ask(&version)).await;
    fleet.at(0).until_waiters("/locks/k", 1).await;
    let elsewhere = fleet.at(1);
    let (released, ()) = tokio::join!(elsewhere.release("k", &held.version), async { cut.hang_up() });
    released.unheld(200);
    let again = fleet.at(1).acquire("k", ask(&version)).await.grant();
    assert_eq!(again.version, version);
    assert_eq!(fleet.at(0).heartbeat("k", &version).await.grant().token, again.token);
}
