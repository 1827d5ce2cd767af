//! Failovers with a URL that names both servers. Guards invariants 1, 2, 3 and 5.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    pair::Pair,
    scenario::{Loss, Scenario},
};
use crate::support::{Client, Dialect, SOON, Service, eventually, random_text, server::OwnServer, sql};

/// The fate of the former primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comeback {
    /// It is started again, and accepts writes.
    Writable,
    /// It is started again, read-only.
    ReadOnly,
    /// It hung with its connections open, and wakes up as the primary that it was.
    Awake,
}

#[tokio::test]
async fn postgres_whose_former_primary_comes_back_writable() {
    a_failover_loses_nothing(Dialect::Postgres, Comeback::Writable).await;
}

#[tokio::test]
async fn postgres_whose_former_primary_comes_back_read_only() {
    a_failover_loses_nothing(Dialect::Postgres, Comeback::ReadOnly).await;
}

#[tokio::test]
async fn postgres_whose_primary_hangs() {
    a_failover_loses_nothing(Dialect::Postgres, Comeback::Awake).await;
}

#[tokio::test]
async fn mariadb_whose_former_primary_comes_back_read_only() {
    a_failover_loses_nothing(Dialect::MariaDb, Comeback::ReadOnly).await;
}

#[tokio::test]
async fn mysql_whose_former_primary_comes_back_read_only() {
    a_failover_loses_nothing(Dialect::MySql, Comeback::ReadOnly).await;
}

async fn a_failover_loses_nothing(dialect: Dialect, comeback: Comeback) {
    let Some(mut pair) = Pair::start(dialect).await else { return };
    let scenario = Scenario::start(&pair.url()).await;
    let named = pair.primary.database.server_address();
    scenario.replicas[0].until_logged(&named).await;
    let loss = if comeback == Comeback::Awake { Loss::Hung } else { Loss::Killed };
    let promoted = scenario.fail_over(&mut pair, loss, |_| ()).await;
    match comeback {
        Comeback::Writable => pair.bring_back_as_a_primary().await,
        Comeback::ReadOnly => pair.bring_back_read_only(),
        Comeback::Awake => pair.primary.signal("CONT"),
    }
    if comeback != Comeback::ReadOnly {
        two_primaries_are_logged(&scenario).await;
    }
    the_former_primary_is_not_used(&pair, &scenario.clients).await;
    scenario.check(&format!("{dialect:?}, both hosts, {loss:?}"), promoted).await;
}

async fn two_primaries_are_logged(scenario: &Scenario) {
    let logged = async || scenario.replicas[0].log().contains("several servers accept writes").then_some(());
    eventually("the log warns of two primaries", SOON, logged).await;
}

/// Longer than the time between two checks of all servers.
async fn the_former_primary_is_not_used(pair: &Pair, clients: &[Client; 2]) {
    let until = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < until {
        for svc in clients {
            svc.hold(&format!("after-{}", random_text())).await;
        }
    }
    let counts = "SELECT count(*) FROM locks WHERE locks.key LIKE 'after-%'";
    let count = async |url: &str| sql::number(url, counts).await.unwrap();
    assert!(count(&pair.promoted().url).await > 2);
    assert_eq!(count(&pair.primary.database.url).await, 0, "nothing is written to the former primary");
}

/// Without timelines the service cannot know which of two writable servers is the right one.
#[tokio::test]
async fn of_two_writable_mariadb_or_mysql_none_is_written_to() {
    for dialect in [Dialect::MariaDb, Dialect::MySql] {
        let Some(one) = OwnServer::start(dialect).await else { continue };
        let Some(other) = OwnServer::start(dialect).await else { continue };
        // Its schema.
        drop(Service::start(&other.database.url).await);
        let read_only = async |server: &OwnServer, value: u8| {
            sql::execute(&server.database.url, &format!("SET GLOBAL read_only = {value}")).await.unwrap();
        };
        read_only(&other, 1).await;
        let (url, address) = (&one.database.url, one.database.server_address());
        let both = url.replace(&address, &format!("{address},{}", other.database.server_address()));
        let service = Service::start(&both).await;
        let svc = service.client();
        svc.hold("before").await;
        read_only(&other, 0).await;
        let refused = async || {
            let answer = svc.acquire("k", json!({"wait_ms": 0})).await;
            // A request that was under way when the service noticed has an unknown outcome.
            (answer.status == 503 && answer.text.contains("Two writable servers")).then_some(())
        };
        eventually("writes are refused", SOON, refused).await;
        svc.get("/ready").await.expect(503);
        // This is the end of a switch-over by hand.
        read_only(&one, 1).await;
        let back = async || (svc.acquire("k2", json!({"wait_ms": 0})).await.status == 200).then_some(());
        eventually("the other one is written to", SOON, back).await;
        svc.lock("before").await.expect(404);
    }
}
