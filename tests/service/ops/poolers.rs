//! `PgBouncer` between the service and `PostgreSQL`: the one that is installed, or 1.24 with `TEST_SERVERS=newest`.

use db_locks_testing::newest_servers;
use serde_json::json;

use crate::support::{
    Client, Dialect, Service,
    pgbouncer::{PgBouncer, TRANSACTIONS},
    service::run_program,
};

/// Runs callers at two replicas, or twice at the same one. Checks that grants are in order and are handed over.
async fn hand_over(clients: &[Client; 2]) {
    let [here, there] = clients;
    let held = here.hold("k").await;
    let waiting = there.queue_up("k", json!({"wait_ms": 20_000, "lease_duration_ms": 60_000}), 1).await;
    here.heartbeat("k", &held.version).await.grant();
    here.release("k", &held.version).await.unheld(200);
    let grant = waiting.await.unwrap().grant();
    assert!(grant.token > held.token);
    there.release("k", &grant.version).await.unheld(200);
    let many = (0..60).map(|number| {
        let client = clients[number % 2].clone();
        tokio::spawn(async move {
            let key = format!("many-{}", number % 30);
            let grant = client.acquire(&key, json!({"wait_ms": 20_000})).await.grant();
            client.release(&key, &grant.version).await.unheld(200);
        })
    });
    for one in many.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    here.put("/semaphores/s", json!({"max_size": 2})).await.expect(201);
    let permit = here.post("/semaphores/s/acquire", json!({})).await.grant();
    there.post("/semaphores/s/release", json!({"version": permit.version})).await.expect(200);
    let listed = there.get("/locks").await;
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 31);
}

/// Guards invariants 1, 2, 5 and 6 behind a pooler, at one replica and at two.
async fn replicas_behind_a_pooler(pooling: &str, with_notify_url: bool) {
    let Some(database) = Dialect::Postgres.database().await else { return };
    let Some(bouncer) = PgBouncer::start(&database, pooling).await else { return };
    // The schema.
    drop(Service::start(&database.url).await);
    let mut settings = vec![];
    settings.extend(with_notify_url.then_some(("DB_LOCKS_NOTIFY_URL", database.url.as_str())));
    let mut replicas = vec![Service::start_with(&bouncer.url, &settings).await];
    let first = replicas[0].client();
    hand_over(&[first.clone(), first]).await;
    replicas.push(Service::start_with(&bouncer.url, &settings).await);
    let first = replicas[0].client();
    let second = first.at(replicas[1].port());
    hand_over(&[first, second]).await;
    for replica in &replicas {
        let log = replica.log();
        assert_eq!(log.contains("a pooler in transaction mode"), pooling.contains(TRANSACTIONS), "{log}");
        assert!(!log.contains("ERROR"), "{log}");
    }
}

#[tokio::test]
async fn pgbouncer_may_pool_sessions() {
    replicas_behind_a_pooler("pool_mode = session", false).await;
}

/// With the default for prepared statements: older versions keep none, newer ones 200 for each connection.
#[tokio::test]
async fn pgbouncer_may_pool_transactions() {
    replicas_behind_a_pooler(TRANSACTIONS, false).await;
}

#[tokio::test]
async fn pgbouncer_may_pool_transactions_without_prepared_statements() {
    // The setting exists since 1.21; older versions behave as with 0.
    if newest_servers() {
        replicas_behind_a_pooler(&format!("{TRANSACTIONS}\nmax_prepared_statements = 0"), false).await;
    }
}

#[tokio::test]
async fn pgbouncer_is_passed_by_notifications() {
    replicas_behind_a_pooler(TRANSACTIONS, true).await;
}

/// Commands that need a session of their own are refused before they do harm, and the message says what to set.
#[tokio::test]
async fn pgbouncer_that_pools_transactions_gets_no_schema_changes() {
    let Some(database) = Dialect::Postgres.database().await else { return };
    let Some(bouncer) = PgBouncer::start(&database, TRANSACTIONS).await else { return };
    let output = run_program(&bouncer.url, &["migrate", "up"]).await;
    assert!(!output.status.success());
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("transaction mode") && said.contains("DB_LOCKS_NOTIFY_URL"), "{said}");
    let settings = [("DB_LOCKS_NOTIFY_URL", database.url.as_str())];
    Service::start_with(&bouncer.url, &settings).await.client().hold("k").await;
}
