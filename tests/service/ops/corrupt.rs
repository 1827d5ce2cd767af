//! Corrupt rows: a damaged file, a failed restore, an operator's mistake.

use serde_json::json;

use super::on_every_database;
use crate::support::{Database, Service, sql};

on_every_database![with_database:
    a_key_that_cannot_be_read_is_refused_and_its_neighbours_are_not,
];

/// Guards invariant 1: an unreadable row never counts as a free lock.
async fn a_key_that_cannot_be_read_is_refused_and_its_neighbours_are_not(database: Database) {
    // The keys, and the change that corrupts the row of each.
    let damages = [
        ("no-end", "expires_at_ms = NULL"),
        ("no-owner", "owner = NULL"),
        ("no-kind", "kind = 7"),
        ("no-history", "ended = 'x'"),
    ];
    let service = Service::start(&database.url).await;
    let tenant = service.client();
    for (key, _) in damages {
        tenant.acquire(key, json!({"owner": key, "lease_duration_ms": 600_000})).await.grant();
    }
    tenant.hold("good").await;
    drop(service);
    for (key, damage) in damages {
        let value = if database.url.starts_with("postgres") {
            damage.replace("'x'", "'\\x41'")
        } else {
            damage.into()
        };
        let statement = format!("UPDATE locks SET {value} WHERE owner = '{key}'");
        sql::execute(&database.url, &statement).await.unwrap();
    }
    let mut service = Service::start(&database.url).await;
    let svc = tenant.at(service.port());
    for _ in 0..2 {
        for (key, _) in damages {
            svc.acquire(key, json!({"wait_ms": 0})).await.unavailable();
            svc.lock(key).await.unavailable();
        }
    }
    svc.lock("good").await.grant();
    let shown = svc.get("/locks?locked=false").await.expect(200).body["items"].to_string();
    assert!(!shown.contains("no-end"), "it is not shown as free: {shown}");
    let log = service.log_at_end().await;
    for (key, _) in damages {
        let lines = log.lines().filter(|line| line.contains("cannot be read") && line.contains(key));
        assert_eq!(lines.count(), 1, "once for {key}:\n{log}");
    }
}
