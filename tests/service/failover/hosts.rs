//! Through a URL that names both servers.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{pair::Pair, workload::Workload};
use crate::support::{Client, Dialect, SOON, Service, eventually, random_text, sql};

/// How soon after the order to promote the standby writes have to be back.
pub(crate) const WRITES_BACK: Duration = Duration::from_secs(3);

/// How the killed primary comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Return {
    /// It accepts writes, as before.
    Writable,
    /// An operator made it read-only first.
    ReadOnly,
}

#[tokio::test]
async fn postgres_whose_former_primary_comes_back_writable() {
    a_promoted_standby_is_found(Dialect::Postgres, Return::Writable).await;
}

#[tokio::test]
async fn postgres_whose_former_primary_comes_back_read_only() {
    a_promoted_standby_is_found(Dialect::Postgres, Return::ReadOnly).await;
}

/// Guards invariants 1, 2, 3 and 5: no grant is lost, none is given twice, no place in a queue is lost.
async fn a_promoted_standby_is_found(dialect: Dialect, comes_back: Return) {
    let Some(mut pair) = Pair::start(dialect).await else { return };
    let replicas = [Service::start(&pair.url()).await, Service::start(&pair.url()).await];
    let first = replicas[0].client();
    let clients = [first.clone(), first.at(replicas[1].port())];
    assert!(replicas[0].log().contains(&pair.primary.database.server_address()), "{}", replicas[0].log());

    let held = first.acquire("queue", json!({"lease_duration_ms": 600_000})).await.grant();
    let mut waiting = Vec::new();
    for place in 1..=4 {
        let ask = json!({"wait_ms": 50_000, "lease_duration_ms": 60_000});
        waiting.push(clients[usize::try_from(place).unwrap() % 2].queue_up("queue", ask, place).await);
    }
    let workload = Workload::start(&clients);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let killed = Instant::now();
    pair.primary.kill();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let ordered = Instant::now();
    pair.promote().await;
    let promoted = ordered.elapsed();
    for svc in &clients {
        let back = async || (svc.acquire("again", json!({"wait_ms": 0})).await.status != 503).then_some(());
        eventually("writes are back", SOON, back).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;

    match comes_back {
        Return::Writable => {
            pair.bring_back_as_a_primary().await;
            let warned = async || replicas[0].log().contains("several servers accept writes").then_some(());
            eventually("the log warns of two primaries", SOON, warned).await;
        }
        Return::ReadOnly => pair.bring_back_read_only(),
    }
    the_former_primary_is_not_used(&pair, &clients).await;
    let told = workload.end().await;
    let back = told.first_grant_after(ordered);
    let since_kill = told.first_grant_after(killed + Duration::from_millis(100));
    eprintln!(
        "{dialect:?}: writes were back {back:?} after the order to promote, which took {promoted:?}; \
         {since_kill:?} after the kill"
    );
    assert!(back < WRITES_BACK, "{back:?}");
    told.check(&first).await;

    let mut last = held.token;
    let mut version = held.version;
    assert_eq!(first.lock("queue").await.body["waiters"], 4);
    for task in waiting {
        first.release("queue", &version).await.unheld(200);
        let grant = task.await.unwrap().grant();
        assert!(grant.token > last, "in order");
        (last, version) = (grant.token, grant.version);
    }
}

/// For longer than the time between two looks at all servers.
async fn the_former_primary_is_not_used(pair: &Pair, clients: &[Client; 2]) {
    let until = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < until {
        for svc in clients {
            svc.hold(&format!("after-{}", random_text())).await;
        }
    }
    let counts = "SELECT count(*) FROM locks \
                  WHERE locks.key LIKE 'after-%'";
    let count = async |url: &str| sql::number(url, counts).await.unwrap();
    assert!(count(&pair.promoted().url).await > 2);
    assert_eq!(count(&pair.primary.database.url).await, 0, "nothing is written to the former primary");
}
