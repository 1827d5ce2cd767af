//! The connection on which a replica receives notifications is cut.

use serde_json::json;

use crate::{
    conformance::with_database,
    support::{Database, Dialect, Fleet, sql},
};

/// Guards invariant 6: a lost notification delays a wake-up, but does not lose it.
#[tokio::test]
async fn hand_overs_go_on_while_listeners_are_cut_off() {
    with_database(Dialect::Postgres, hand_overs_go_on).await;
}

async fn hand_overs_go_on(database: Database) {
    let fleet = Fleet::start(database, 2).await;
    let mut held = fleet.at(0).hold("k").await;
    let mut cut = 0;
    for round in 1..=12 {
        let ask = json!({"wait_ms": 30_000, "lease_duration_ms": 60_000});
        let waiting = fleet.at(round).queue_up("k", ask, 1).await;
        let elsewhere = fleet.at(round + 1);
        let (answer, terminated) =
            tokio::join!(elsewhere.release("k", &held.version), terminate_listeners(&fleet.database));
        answer.unheld(200);
        cut += terminated;
        let next = waiting.await.unwrap().grant();
        assert!(next.token > held.token);
        held = next;
    }
    assert!(cut >= 2, "only {cut} listeners were found and cut");
}

/// Ends the sessions of this database that listen, and returns their number.
async fn terminate_listeners(database: &Database) -> i64 {
    let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                     WHERE datname = current_database() AND pid <> pg_backend_pid() AND query ILIKE 'LISTEN%'";
    sql::number(&database.url, terminate).await.unwrap()
}
