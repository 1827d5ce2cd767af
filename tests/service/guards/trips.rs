//! The cost of a change of a guarded key: one round trip to a server.

use serde_json::json;

use super::{User, on_every_database};
use crate::support::{Client, Database, Dialect, Service, sql};

on_every_database![with_database:
    a_change_of_a_guarded_key_is_one_round_trip,
    the_first_grant_of_a_key_is_guarded_with_its_raised_token,
];

/// The number of round trips with which the service committed changes.
async fn commits(svc: &Client) -> u64 {
    let metrics = svc.get("/metrics").await.text;
    let counter = r#"db_locks_database_round_trips_total{operation="commit"} "#;
    let line = metrics.lines().find_map(|line| line.strip_prefix(counter));
    line.unwrap().parse().unwrap()
}

async fn a_change_of_a_guarded_key_is_one_round_trip(database: Database) {
    let service = Service::start(&database.url).await;
    let svc = service.client();
    let is_mysql = matches!(database.dialect, Dialect::MariaDb | Dialect::MySql);
    let before = commits(&svc).await;
    let first = svc.acquire("k", json!({"guarded": true})).await.grant();
    // PostgreSQL writes a new row and its guard row step by step.
    assert!(!is_mysql || commits(&svc).await == before + 1);
    svc.release("k", &first.version).await.unheld(200);
    let before = commits(&svc).await;
    let grant = svc.acquire("k", json!({})).await.grant();
    assert_eq!(commits(&svc).await, before + 1, "acquire");
    svc.release("k", &grant.version).await.unheld(200);
    assert_eq!(commits(&svc).await, before + 2, "release");
    if !is_mysql {
        return;
    }
    let holder = svc.acquire("k", json!({})).await.grant();
    let waiting = svc.queue_up("k", json!({"wait_ms": 30_000}), 1).await;
    let before = commits(&svc).await;
    svc.release("k", &holder.version).await.unheld(200);
    let next = waiting.await.unwrap().grant();
    assert_eq!(commits(&svc).await, before + 1, "a hand-over");
    svc.delete(&format!("/locks/k?version={}", next.version)).await.expect(204);
    assert_eq!(commits(&svc).await, before + 2, "a deletion");

    svc.put("/semaphores/s", json!({"max_size": 2, "guarded": true})).await.expect(201);
    let before = commits(&svc).await;
    let permit = svc.post("/semaphores/s/acquire", json!({"wait_ms": 0})).await.grant();
    svc.post("/semaphores/s/release", json!({"version": permit.version})).await.unheld(200);
    assert_eq!(commits(&svc).await, before + 2, "a permit and its release");
}

/// The tokens of a new key begin above the floor of its tenant, which only the statement that creates the row knows.
async fn the_first_grant_of_a_key_is_guarded_with_its_raised_token(database: Database) {
    let service = Service::start(&database.url).await;
    let svc = service.client();
    let user = User::of(&database, &svc).await;
    let quote = if matches!(database.dialect, Dialect::MariaDb | Dialect::MySql) { '`' } else { '"' };
    let floor = format!(
        "INSERT INTO token_floors (tenant, {quote}floor{quote}, settled_floor, raised_at_ms) VALUES ('{}', 500, 500, 0)",
        svc.tenant()
    );
    sql::execute(&database.url, &floor).await.unwrap();
    let grant = svc.acquire("k", json!({"guarded": true})).await.grant();
    assert_eq!(grant.token, 501);
    assert_eq!(user.guard_alone("k", &grant.version).await, Ok(501));
}
