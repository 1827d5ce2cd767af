//! First come, first served, whatever the replica of a waiter.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::on_every_database;
use crate::support::{Database, Fleet};

on_every_database![with_database:
    thirty_waiters_over_three_replicas_are_granted_in_order,
    a_newcomer_at_another_replica_does_not_overtake,
];

/// Guards invariant 5: the order of arrival is the order of the grants, across replicas.
pub(crate) async fn thirty_waiters_over_three_replicas_are_granted_in_order(database: Database) {
    let fleet = Fleet::start(database, 3).await;
    let held = fleet.at(0).hold("k").await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for place in 0..30 {
        // The replicas do not alternate: two waiters at one replica, then one at another.
        let (svc, order) = (fleet.at(place * 2 / 3), order.clone());
        waiting.push(tokio::spawn(async move {
            let grant =
                svc.acquire("k", json!({"wait_ms": 60_000, "lease_duration_ms": 30_000})).await.grant();
            order.lock().unwrap().push((place, grant.token));
            svc.release("k", &grant.version).await.unheld(200);
        }));
        fleet.at(place).until_waiters("/locks/k", i64::try_from(place).unwrap() + 1).await;
    }
    fleet.at(1).release("k", &held.version).await.unheld(200);
    for task in waiting {
        task.await.unwrap();
    }
    let order = order.lock().unwrap();
    assert_eq!(order.iter().map(|(place, _)| *place).collect::<Vec<_>>(), (0..30).collect::<Vec<_>>());
    assert!(order.is_sorted_by(|a, b| a.1 < b.1), "{order:?}");
}

/// Guards invariant 5.
pub(crate) async fn a_newcomer_at_another_replica_does_not_overtake(database: Database) {
    let fleet = Fleet::start(database, 2).await;
    let held = fleet.at(0).hold("k").await;
    let waiting = fleet.at(0).queue_up("k", json!({"wait_ms": 60_000, "lease_duration_ms": 30_000}), 1).await;
    // The lease ends while newcomers try at the other replica.
    let ends_soon = json!({"version": held.version, "lease_duration_ms": 1_000});
    fleet.at(0).post("/locks/k/heartbeat", ends_soon).await.expect_success();
    while !waiting.is_finished() {
        fleet.at(1).acquire("k", json!({"wait_ms": 0})).await.not_granted("no_wait");
    }
    assert!(waiting.await.unwrap().grant().token > held.token);
}
