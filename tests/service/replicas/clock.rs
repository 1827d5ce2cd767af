//! The clock that decides: the test sets the clock of the database.
//!
//! Only `PostgreSQL` lets a database replace its clock function, so these tests run there.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    conformance::with_database,
    support::{Database, Dialect, Fleet, SOON, sql, time::epoch_ms},
};

/// Functions that every session of this database uses instead of the server's own.
const OWN_CLOCK: &str = "
    CREATE SCHEMA own;
    CREATE TABLE own.ahead (seconds bigint NOT NULL);
    INSERT INTO own.ahead VALUES (0);
    CREATE FUNCTION own.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql AS
        'SELECT pg_catalog.clock_timestamp() + (SELECT seconds FROM own.ahead) * interval ''1 second''';
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, own, pg_catalog', current_database()); END $$;
";

const HOUR: i64 = 3_600;

async fn set_clock(database: &Database, ahead: i64) {
    sql::execute(&database.url, &format!("UPDATE own.ahead SET seconds = {ahead}")).await.unwrap();
}

async fn fleet(database: Database, ahead: i64) -> Fleet {
    sql::execute(&database.url, OWN_CLOCK).await.unwrap();
    set_clock(&database, ahead).await;
    Fleet::start(database, 2).await
}

/// Guards invariant 8: replicas whose clocks differ by an hour from the database's clock use the database's clock.
#[tokio::test]
async fn the_databases_clock_decides() {
    with_database(Dialect::Postgres, async |database| {
        let fleet = fleet(database, HOUR).await;
        let here = sql::number(
            &fleet.database.url,
            "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000)::bigint",
        );
        let here = here.await.unwrap();
        let grant = fleet.at(0).acquire("k", json!({"lease_duration_ms": 4_000})).await.grant();
        let ahead_ms = epoch_ms(&grant.body["acquired_at"]) - here;
        assert!(
            (3_590_000..3_660_000).contains(&ahead_ms),
            "granted by the database's clock: {ahead_ms} ms ahead"
        );
        fleet.at(1).acquire("k", json!({"wait_ms": 0})).await.not_granted("no_wait");
        fleet.at(1).until_free("k", SOON).await;
        assert!(fleet.at(1).hold("k").await.token > grant.token);
    })
    .await;
}

/// Guards invariants 1 and 8: after a step back a lease lasts at most 2 s longer than it was granted for.
#[tokio::test]
async fn a_step_back_does_not_prolong_a_lease_for_long() {
    with_database(Dialect::Postgres, async |database| {
        let fleet = fleet(database, 0).await;
        let short = json!({"lease_duration_ms": 5_000});
        let grants = [
            fleet.at(0).acquire("a", short.clone()).await.grant(),
            fleet.at(0).acquire("b", short).await.grant(),
        ];
        let before = fleet.at(1).queue_up("a", json!({"wait_ms": 30_000}), 1).await;
        set_clock(&fleet.database, -HOUR).await;
        let begin = Instant::now();
        let after = fleet.at(1).acquire("b", json!({"wait_ms": 30_000})).await.grant();
        let before = before.await.unwrap().grant();
        assert!(before.token > grants[0].token && after.token > grants[1].token);
        assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    })
    .await;
}

/// Guards invariants 5, 6 and 8: after a step no replica declares the other dead, and no waiter loses its place.
#[tokio::test]
async fn waiters_outlast_steps_of_the_clock() {
    with_database(Dialect::Postgres, async |database| {
        let fleet = fleet(database, 0).await;
        let held = fleet.at(0).acquire("k", json!({"lease_duration_ms": 86_400_000})).await.grant();
        let mut waiting = Vec::new();
        for place in 1..=4 {
            let ask = json!({"wait_ms": 50_000, "lease_duration_ms": 86_400_000});
            waiting.push(fleet.at(usize::try_from(place).unwrap()).queue_up("k", ask, place).await);
        }
        for ahead in [HOUR, -HOUR, 0] {
            set_clock(&fleet.database, ahead).await;
            // Longer than a replica may be unseen before it is declared dead.
            tokio::time::sleep(Duration::from_secs(4)).await;
            assert_eq!(
                fleet.at(0).lock("k").await.expect(200).body["waiters"],
                4,
                "after a step to {ahead} s"
            );
        }
        fleet.at(1).release("k", &held.version).await.unheld(200);
        let mut last = held.token;
        for task in waiting {
            let grant = task.await.unwrap().grant();
            assert!(grant.token > last, "in order");
            last = grant.token;
            fleet.at(0).release("k", &grant.version).await.unheld(200);
        }
    })
    .await;
}
