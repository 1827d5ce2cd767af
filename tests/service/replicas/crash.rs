//! A replica that is killed while callers wait at it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::on_every_database;
use crate::support::{Database, Fleet, TRIES, expect, try_until_undisturbed};

on_every_database![with_database:
    the_queue_behind_a_killed_replica_moves,
    a_grant_of_a_killed_replica_stays_active_until_its_lease_ends,
];

/// The time within which the queue behind a killed replica must move.
const MOVES_WITHIN: Duration = Duration::from_secs(6);

/// Guards invariants 5, 6 and 7: the waiters of the killed replica are passed over, in order, within 6 s.
pub(crate) async fn the_queue_behind_a_killed_replica_moves(database: Database) {
    try_until_undisturbed(TRIES, async || kill_a_replica_with_waiters(database.clone()).await).await;
}

async fn kill_a_replica_with_waiters(database: Database) -> Result<(), String> {
    let mut fleet = Fleet::start(database, 2).await;
    let held = fleet.at(0).hold("k").await;
    let (mut living, mut dying) = (vec![], vec![]);
    for place in 1..=6 {
        let ask = json!({"wait_ms": 50_000, "lease_duration_ms": 60_000});
        let at_the_dying = place % 2 == 1;
        let client = fleet.at(usize::from(at_the_dying));
        let (path, asking) = ("/locks/k/acquire", client.clone());
        if at_the_dying {
            dying.push(tokio::spawn(async move { asking.try_post(path, &ask).await }));
        } else {
            living.push(client.post_aside(path, ask));
        }
        fleet.at(0).until_waiters("/locks/k", place).await;
    }
    fleet.replicas[1].signal("KILL");
    let killed = Instant::now();
    fleet.at(0).release("k", &held.version).await.unheld(200);
    let mut last = held.token;
    for task in living {
        let grant = task.await.unwrap().grant();
        assert!(grant.token > last);
        last = grant.token;
        fleet.at(0).release("k", &grant.version).await.unheld(200);
    }
    let took = killed.elapsed();
    for task in dying {
        assert!(task.await.unwrap().is_none(), "nobody answers for the dead");
    }
    fleet.at(0).until_waiters("/locks/k", 0).await;
    fleet.at(0).lock("k").await.unheld(200);
    expect(took < MOVES_WITHIN, || format!("the queue moved after {took:?}"))
}

/// Guards invariant 3: a grant belongs to the database, not to the replica.
async fn a_grant_of_a_killed_replica_stays_active_until_its_lease_ends(database: Database) {
    let mut fleet = Fleet::start(database, 2).await;
    let kept = fleet.at(1).hold("kept").await;
    let ends = fleet.at(1).acquire("ends", json!({"lease_duration_ms": 3_000})).await.grant();
    fleet.replicas[1].signal("KILL");
    fleet.at(0).acquire("kept", json!({"wait_ms": 0})).await.not_granted("no_wait");
    assert_eq!(fleet.at(0).heartbeat("kept", &kept.version).await.grant().token, kept.token);
    let next = fleet.at(0).acquire("ends", json!({"wait_ms": 20_000})).await.grant();
    let (end, begin) = (&ends.body["expires_at"], &next.body["acquired_at"]);
    assert!(begin.as_str() >= end.as_str(), "granted at {begin}, before the end at {end}");
}
