//! A lock that one replica frees while a caller of another replica waits for it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::on_every_database;
use crate::{
    conformance::waiting::hands_over_at_the_end_of_a_lease,
    support::{Database, Fleet, TRIES, expect, random_version, try_until_undisturbed},
};

on_every_database![with_database:
    a_release_at_one_replica_grants_at_another,
    the_end_of_a_lease_grants_at_another_replica,
    waiters_get_their_data_at_every_replica,
    a_grant_works_at_every_replica,
    growing_at_one_replica_grants_at_another,
];

/// A replica that polls for its offers does so many times a second. The rest of the time is for a slow machine.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Guards invariant 6 across replicas.
pub(crate) async fn a_release_at_one_replica_grants_at_another(database: Database) {
    let fleet = Fleet::start(database, 3).await;
    let mut held = fleet.at(0).hold("k").await;
    for round in 1..10 {
        try_until_undisturbed(TRIES, async || {
            let ask = json!({"wait_ms": 30_000, "lease_duration_ms": 60_000});
            let waiting = fleet.at(round).queue_up("k", ask, 1).await;
            let begin = Instant::now();
            fleet.at(round + 1).release("k", &held.version).await.unheld(200);
            let next = waiting.await.unwrap().grant();
            let took = begin.elapsed();
            assert!(next.token > held.token);
            held = next;
            expect(took < AT_ONCE, || format!("round {round}: {took:?}"))
        })
        .await;
    }
}

/// Guards invariant 6 across replicas.
pub(crate) async fn the_end_of_a_lease_grants_at_another_replica(database: Database) {
    let fleet = Fleet::start(database, 2).await;
    hands_over_at_the_end_of_a_lease(&fleet.at(0), &fleet.at(1), "/locks/k").await;
}

/// Guards that the data of waiters is not lost on the way: decisions leave it out until the waiter is served.
pub(crate) async fn waiters_get_their_data_at_every_replica(database: Database) {
    let fleet = Fleet::start(database, 2).await;
    let mut held = fleet.at(0).hold("k").await;
    for (round, bytes) in [1_024, 1_025, 32_000].into_iter().enumerate() {
        let data = "x".repeat(bytes);
        let ask = json!({"wait_ms": 30_000, "lease_duration_ms": 60_000, "data": data, "replace_data": true});
        let waiting = fleet.at(round).queue_up("k", ask.clone(), 1).await;
        let behind = fleet.at(round + 1).queue_up("k", ask, 2).await;
        for waiting in [waiting, behind] {
            fleet.at(0).release("k", &held.version).await.unheld(200);
            held = waiting.await.unwrap().grant();
            assert!(held.body["data"] == data, "{bytes} bytes, round {round}");
        }
    }
}

/// Guards invariants 4 and 9: every replica knows the same.
pub(crate) async fn a_grant_works_at_every_replica(database: Database) {
    let fleet = Fleet::start(database, 3).await;
    let version = random_version();
    let ask = json!({"version": version, "wait_ms": 0, "lease_duration_ms": 60_000});
    let grant = fleet.at(0).acquire("k", ask.clone()).await.grant();
    assert_eq!(fleet.at(1).acquire("k", ask.clone()).await.grant().token, grant.token);
    fleet.at(1).acquire("k", json!({"wait_ms": 0})).await.not_granted("no_wait");
    assert_eq!(fleet.at(2).heartbeat("k", &version).await.grant().token, grant.token);
    assert_eq!(fleet.at(1).lock("k").await.grant().version, version);
    fleet.at(1).release("k", &version).await.unheld(200);
    fleet.at(0).lock("k").await.unheld(200);
    fleet.at(0).heartbeat("k", &version).await.problem(409, "version-mismatch");
    fleet.at(2).acquire("k", ask).await.problem(409, "version-mismatch");
    let next = fleet.at(0).hold("k").await;
    fleet.at(2).delete(&format!("/locks/k?version={}", next.version)).await.expect(204);
    fleet.at(0).heartbeat("k", &next.version).await.problem(404, "not-found");
    assert!(fleet.at(1).hold("k").await.token > next.token);
}

/// Guards invariant 6 across replicas, for semaphores.
pub(crate) async fn growing_at_one_replica_grants_at_another(database: Database) {
    let fleet = Fleet::start(database, 2).await;
    fleet.at(0).put("/semaphores/s", json!({"max_size": 1})).await.expect(201);
    fleet.at(0).post("/semaphores/s/acquire", json!({"lease_duration_ms": 60_000})).await.grant();
    let waiting = fleet.at(1).post_aside("/semaphores/s/acquire", json!({"wait_ms": 30_000}));
    fleet.at(0).until_waiters("/semaphores/s", 1).await;
    fleet.at(0).put("/semaphores/s", json!({"max_size": 2})).await.expect(200);
    waiting.await.unwrap().grant();
}
