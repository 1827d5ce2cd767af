//! Nodes that are killed and cut off, under load.

use std::time::{Duration, Instant};

use serde_json::json;

use super::cluster::{NODES, Nodes};
use crate::{
    failover::{scenario::Scenario, workload::served},
    support::{Answer, Client, Database, SOON, Service, eventually, sql},
};

/// The longest time from the moment when the other nodes have declared the one that was written to lost until writes
/// work again.
const WRITES_BACK: Duration = Duration::from_secs(5);

/// The time within which a node that was cut off is part of the cluster again. On a busy machine the nodes need several
/// attempts.
const REJOINED: Duration = Duration::from_mins(1);

/// Guards invariants 1, 2, 3 and 5.
#[tokio::test]
async fn a_node_that_is_killed_takes_nothing_with_it() {
    let Some(mut nodes) = Nodes::own().await else { return };
    let database = nodes.database().await;
    let scenario = Scenario::start(&database.all_hosts()).await;
    nodes.kill(0);
    let since = until_declared_lost(&nodes).await;
    scenario.until_writes_are_back().await;
    // The node is written to again as soon as possible.
    nodes.start_again(0..1).await;
    until_led_back(&scenario, &database).await;
    scenario.check_within(WRITES_BACK, "Galera, all hosts, the first one killed", since).await;
}

/// Guards invariants 1, 2, 3 and 5. A commit under way when the node was cut off fails there, but may have happened.
#[tokio::test]
async fn a_node_that_is_cut_off_takes_nothing_with_it_and_grants_no_token_again() {
    let Some(mut nodes) = Nodes::own().await else { return };
    let database = nodes.database().await;
    let scenario = Scenario::start(&database.all_hosts()).await;
    cut_off(&nodes, true).await;
    let since = until_declared_lost(&nodes).await;
    scenario.until_writes_are_back().await;
    cut_off(&nodes, false).await;
    until_led_back(&scenario, &database).await;
    scenario.check_within(WRITES_BACK, "Galera, all hosts, the first one cut off", since).await;

    // An operator makes the node that was cut off primary. It has not seen what the others granted meanwhile.
    let services = [Service::start(&database.url).await, Service::start(database.url_of(1)).await];
    let first = services[0].client();
    let others = first.at(services[1].port());
    cut_off(&nodes, true).await;
    let mut token = 0;
    for _ in 0..3 {
        token = take(&others).await;
    }
    for node in 1..NODES {
        nodes.kill(node);
    }
    until_ready_is(&first, 503).await;
    // Epochs are counted in seconds, and an operator takes longer than one.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    nodes.execute(0, "SET GLOBAL wsrep_provider_options = 'pc.bootstrap=1'").await;
    assert!(take(&first).await > token, "the node grants what was granted");
}

/// Guards invariants 1, 2 and 3.
#[tokio::test]
async fn without_a_majority_nothing_is_granted_and_then_the_service_goes_on() {
    let Some(mut nodes) = Nodes::own().await else { return };
    let service = Service::start(&nodes.database().await.all_hosts()).await;
    let svc = service.client();
    let held = svc.acquire("k", json!({"lease_duration_ms": 600_000})).await.grant();
    for node in 1..NODES {
        nodes.kill(node);
    }
    until_ready_is(&svc, 503).await;
    // At the same time, since each start waits until the database answers.
    let answers = tokio::join!(
        svc.acquire("k", json!({"wait_ms": 0})),
        svc.acquire("other", json!({"wait_ms": 0})),
        svc.heartbeat("k", &held.version),
        svc.lock("k"),
    );
    for answer in <[Answer; 4]>::from(answers) {
        answer.unavailable_because("database");
    }
    nodes.start_again(1..NODES).await;
    until_ready_is(&svc, 200).await;
    assert_eq!(svc.heartbeat("k", &held.version).await.grant().token, held.token);
    svc.acquire("k", json!({"wait_ms": 0})).await.not_granted("no_wait");
    let token = take(&svc).await;

    // All nodes are lost, and the cluster is bootstrapped again, so its configurations are counted from 1 again.
    for node in 0..NODES {
        nodes.kill(node);
    }
    nodes.begin_anew().await;
    nodes.start_again(1..NODES).await;
    until_ready_is(&svc, 200).await;
    assert!(
        take(&svc).await >= token + (1 << 22),
        "a cluster that was bootstrapped again may have lost grants"
    );
    assert_eq!(svc.heartbeat("k", &held.version).await.grant().token, held.token);
}

/// Cuts the first node off from the others, or connects it with them again.
async fn cut_off(nodes: &Nodes, off: bool) {
    let isolate = format!("SET GLOBAL wsrep_provider_options = 'gmcast.isolate={}'", i32::from(off));
    nodes.execute(0, &isolate).await;
}

/// Waits until the first node, which was lost, is written to again.
async fn until_led_back(scenario: &Scenario, database: &Database) {
    let first = database.server_address();
    for replica in &scenario.replicas {
        let led_back = async || {
            let log = replica.log();
            let last =
                log.lines().rev().find(|line| line.contains("the database is written to at this host"));
            last.is_some_and(|line| line.contains(&first)).then_some(())
        };
        eventually("the first node is written to again", REJOINED, led_back).await;
    }
    scenario.until_writes_are_back().await;
}

/// Waits until the other nodes have declared the first one lost. Nothing was granted since it was lost: no commit ends
/// without all nodes of the cluster.
async fn until_declared_lost(nodes: &Nodes) -> Instant {
    let size = "SELECT CAST(variable_value AS SIGNED) FROM information_schema.global_status \
                WHERE variable_name = 'wsrep_cluster_size'";
    let gone = async || (sql::number(nodes.url(1), size).await.ok()? == 2).then_some(());
    eventually("the others declare the node lost", SOON, gone).await;
    Instant::now()
}

/// Acquires and releases a lock. Returns the token.
async fn take(svc: &Client) -> i64 {
    let granted = async || {
        // A grant that was answered 503 is held for a moment.
        let answer = svc.acquire("taken", json!({"wait_ms": 0, "lease_duration_ms": 60_000})).await;
        (answer.status == 200).then(|| answer.grant())
    };
    let grant = eventually("the lock is granted", SOON, granted).await;
    served(async || svc.release("taken", &grant.version).await).await.unheld(200);
    grant.token
}

async fn until_ready_is(svc: &Client, status: u16) {
    let ready = async || (svc.get("/ready").await.status == status).then_some(());
    eventually("the service is ready again, or no longer", SOON, ready).await;
}
