//! A grant that was ended by force at one replica is answered `revoked` at every other, and after a restart.

use serde_json::json;

use super::on_every_database;
use crate::{
    conformance::force::revoked,
    support::{Client, Database, Fleet, Service},
};

on_every_database![with_database:
    a_revoked_grant_is_told_at_every_replica_and_after_a_restart,
];

async fn a_revoked_grant_is_told_at_every_replica_and_after_a_restart(database: Database) {
    let fleet = Fleet::start(database, 2).await;
    let (one, two) = (fleet.at(0), fleet.at(1));
    let lock = one.hold("k").await;
    one.put("/semaphores/s", json!({"max_size": 1})).await.expect(201);
    let permit = one.post("/semaphores/s/acquire", json!({"lease_duration_ms": 60_000})).await.grant();
    let waiting = one.queue_up("k", json!({"owner": "next", "wait_ms": 20_000}), 1).await;
    let forced = json!({"force": true, "reason": "stuck"});
    two.post("/locks/k/release", forced).await.unheld(200);
    let forced = json!({"force": true, "version": permit.version, "reason": "gone"});
    two.post("/semaphores/s/release", forced).await.unheld(200);
    assert_eq!(waiting.await.unwrap().grant().body["owner"], "next");
    let check_revoked = async |client: &Client| {
        revoked(&client.heartbeat("k", &lock.version).await, &json!("stuck"));
        let version = json!({"version": permit.version});
        revoked(&client.post("/semaphores/s/release", version).await, &json!("gone"));
    };
    check_revoked(&one).await;
    check_revoked(&two).await;
    let Fleet { replicas, database, .. } = fleet;
    drop(replicas);
    let again = Service::start(&database.url).await;
    check_revoked(&one.at(again.port())).await;
}
