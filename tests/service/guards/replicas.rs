//! Guarded locks that go from one replica to another.

use serde_json::json;

use super::{User, on_every_database};
use crate::support::{Database, Dialect, Fleet};

on_every_database![with_database:
    a_guarded_lock_goes_to_the_waiters_of_other_replicas_in_order,
    a_waiter_of_another_replica_is_granted_when_the_transaction_has_ended,
];

/// Guards invariant 5.
async fn a_guarded_lock_goes_to_the_waiters_of_other_replicas_in_order(database: Database) {
    let fleet = Fleet::start(database.clone(), 2).await;
    let user = User::of(&database, &fleet.at(0)).await;
    let mut held = fleet.at(0).acquire("k", json!({"guarded": true})).await.grant();
    let mut waiting = Vec::new();
    for place in 1..=6 {
        let ask = json!({"wait_ms": 60_000, "lease_duration_ms": 60_000});
        waiting.push(fleet.at(place).queue_up("k", ask, i64::try_from(place).unwrap()).await);
    }
    for next in waiting {
        assert_eq!(user.guard_alone("k", &held.version).await, Ok(held.token));
        fleet.at(1).release("k", &held.version).await.unheld(200);
        let grant = next.await.unwrap().grant();
        assert!(grant.token > held.token);
        assert_eq!(user.guard_alone("k", &held.version).await, Err("DL001".to_owned()));
        held = grant;
    }
}

async fn a_waiter_of_another_replica_is_granted_when_the_transaction_has_ended(database: Database) {
    if database.dialect == Dialect::Sqlite {
        return;
    }
    let fleet = Fleet::start(database.clone(), 2).await;
    let user = User::of(&database, &fleet.at(0)).await;
    let ask = json!({"guarded": true, "lease_duration_ms": 3_000});
    let held = fleet.at(0).acquire("k", ask).await.grant();
    user.begin().await;
    user.guard("k", &held.version).await.unwrap();
    let waiting = fleet.at(1).queue_up("k", json!({"wait_ms": 60_000}), 1).await;
    fleet.at(0).release("k", &held.version).await.problem(409, "guarded-transaction-open");
    assert!(!waiting.is_finished());
    user.run("COMMIT").await;
    let grant = waiting.await.unwrap().grant();
    assert!(grant.token > held.token);
    assert_eq!(user.guard_alone("k", &grant.version).await, Ok(grant.token));
}
