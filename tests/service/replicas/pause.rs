//! A replica that is paused until it is declared dead, and comes back.

use std::time::Duration;

use serde_json::json;

use super::on_every_database;
use crate::support::{
    Client, Database, Fleet, Grant, SOON, TRIES, eventually, expect, try_until_undisturbed,
};

on_every_database![with_database:
    a_paused_replica_is_passed_over_and_grants_nothing_twice,
];

/// Longer than a replica may be unseen before it is declared dead.
const PAUSE: Duration = Duration::from_secs(8);

/// Guards invariants 1, 5 and 7: the first waiter waits at a replica that is paused and returns. It is answered 503, or
/// a grant that nobody else has.
async fn a_paused_replica_is_passed_over_and_grants_nothing_twice(database: Database) {
    try_until_undisturbed(TRIES, async || pause_a_replica_with_a_waiter(database.clone()).await).await;
}

async fn pause_a_replica_with_a_waiter(database: Database) -> Result<(), String> {
    let mut fleet = Fleet::start(database, 2).await;
    let held = fleet.at(0).hold("k").await;
    let ask = json!({"wait_ms": 40_000, "lease_duration_ms": 60_000});
    let paused_head = fleet.at(1).queue_up("k", ask.clone(), 1).await;
    let next = fleet.at(0).queue_up("k", ask, 2).await;
    fleet.replicas[1].signal("STOP");
    let stopped = std::time::Instant::now();
    fleet.at(0).release("k", &held.version).await.unheld(200);
    let grant = next.await.unwrap().grant();
    let took = stopped.elapsed();
    tokio::time::sleep(PAUSE.saturating_sub(stopped.elapsed())).await;
    fleet.replicas[1].signal("CONT");

    serves_again(&fleet.at(1)).await;
    assert_eq!(
        fleet.at(0).heartbeat("k", &grant.version).await.grant().token,
        grant.token,
        "it kept its lock"
    );
    let answered_already = paused_head.is_finished();
    fleet.at(0).release("k", &grant.version).await.unheld(200);
    let answer = paused_head.await.unwrap();
    if answer.status == 200 {
        assert!(!answered_already, "answered while another one held it: {}", answer.text);
        legitimate(&fleet.at(0), &answer.grant(), grant.token).await;
    } else {
        answer.unavailable();
        fleet.at(0).until_free("k", SOON).await;
    }
    expect(took < Duration::from_secs(6), || format!("the queue moved after {took:?}"))
}

/// The replica works again: it grants, and the other replica sees its grants.
async fn serves_again(svc: &Client) {
    let serves = async || {
        let answer = svc.acquire("other", json!({"wait_ms": 0, "lease_duration_ms": 60_000})).await;
        (answer.status == 200).then_some(())
    };
    eventually("the replica serves again", SOON, serves).await;
}

async fn legitimate(svc: &Client, late: &Grant, before: i64) {
    assert!(late.token > before);
    assert_eq!(svc.lock("k").await.grant().version, late.version);
}
