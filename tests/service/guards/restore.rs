//! A database is restored from an old copy, and its epoch is raised by hand.

use std::time::Duration;

use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;

use super::{User, on_every_database};
use crate::support::{
    Database, Dialect, SOON, Service, TRIES, eventually, expect, service::run_program, sql,
    try_until_undisturbed,
};

on_every_database![with_database:
    after_a_restore_and_a_raise_no_token_is_seen_twice_and_no_grant_of_yesterday_passes,
    running_replicas_follow_a_raise_by_hand_within_two_seconds,
    an_epoch_is_not_raised_without_a_yes,
];

/// A copy of the database without routines, like a backup.
async fn copy(database: &Database) -> Database {
    let copy = database.dialect.database().await.unwrap();
    if database.dialect == Dialect::Sqlite {
        sql::execute(&database.url, "PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
        std::fs::copy(file(&database.url), file(&copy.url)).unwrap();
        return copy;
    }
    let name = |database: &Database| database.url.rsplit('/').next().unwrap().to_owned();
    let (from, to) = (name(database), name(&copy));
    let server =
        database.url.replace(&from, if database.dialect == Dialect::Postgres { "postgres" } else { "mysql" });
    if database.dialect == Dialect::Postgres {
        // The sessions of the service may still be ending.
        let copied = async || {
            let drop = format!("DROP DATABASE IF EXISTS {to}");
            sql::execute(&server, &drop).await.ok()?;
            sql::execute(&server, &format!("CREATE DATABASE {to} TEMPLATE {from}")).await.ok()
        };
        eventually("the database is copied", SOON, copied).await;
        return copy;
    }
    let connection = sql::connect(&server).await.unwrap();
    let query = format!(
        "SELECT CAST(table_name AS CHAR) FROM information_schema.tables WHERE table_schema = '{from}' AND table_name <> 'account'"
    );
    let query = Statement::from_string(connection.get_database_backend(), query);
    for row in connection.query_all_raw(query).await.unwrap() {
        let table: String = row.try_get_by_index(0).unwrap();
        for statement in [
            format!("CREATE TABLE {to}.{table} LIKE {from}.{table}"),
            format!("INSERT INTO {to}.{table} SELECT * FROM {from}.{table}"),
        ] {
            connection.execute_unprepared(&statement).await.unwrap();
        }
    }
    copy
}

/// The path in a URL of SQLite.
fn file(url: &str) -> &str {
    url.trim_start_matches("sqlite://").split('?').next().unwrap()
}

async fn stop(mut service: Service) {
    service.signal("TERM");
    service.end(Duration::from_secs(10)).await;
}

async fn raise(database: &Database) -> String {
    let output = run_program(&database.url, &["epoch", "raise", "--yes"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Guards invariants 1, 2 and 11.
async fn after_a_restore_and_a_raise_no_token_is_seen_twice_and_no_grant_of_yesterday_passes(
    database: Database,
) {
    let service = Service::start(&database.url).await;
    let svc = service.client();
    let ask = json!({"guarded": true, "lease_duration_ms": 3_600_000, "wait_ms": 0});
    svc.put("/semaphores/s", json!({"max_size": 1, "guarded": true})).await.expect(201);
    let yesterday = svc.acquire("k", ask.clone()).await.grant();
    let permit = svc.post("/semaphores/s/acquire", ask.clone()).await.grant();
    let gone = json!({"delete_on_release": true, "lease_duration_ms": 3_600_000});
    svc.acquire("gone", gone).await.grant();
    stop(service).await;
    let backup = copy(&database).await;

    let service = Service::start(&database.url).await;
    let today = svc.at(service.port());
    today.release("k", &yesterday.version).await.unheld(200);
    today.post("/semaphores/s/release", json!({"version": permit.version})).await.unheld(200);
    let lost = [
        today.acquire("k", ask.clone()).await.grant(),
        today.post("/semaphores/s/acquire", ask.clone()).await.grant(),
    ];
    stop(service).await;

    let said = raise(&backup).await;
    assert!(said.contains("3 grants were ended"), "{said}");
    let service = Service::start(&backup.url).await;
    let restored = svc.at(service.port());
    let user = User::of(&backup, &restored).await;
    for (key, path, yesterday) in [("k", "/locks/k", &yesterday), ("s", "/semaphores/s", &permit)] {
        let lost_version = &lost[usize::from(key == "s")].version;
        assert_eq!(user.guard_alone(key, &yesterday.version).await, Err("DL001".to_owned()), "{key}");
        // MariaDB and MySQL cannot distinguish an unknown version from one that the transaction does not see yet.
        assert!(user.guard_alone(key, lost_version).await.is_err(), "{key}");
        for version in [&yesterday.version, lost_version] {
            let beat = restored.post(&format!("{path}/heartbeat"), json!({"version": version})).await;
            beat.problem(409, "version-mismatch");
        }
        let grant = restored.post(&format!("{path}/acquire"), ask.clone()).await.grant();
        let highest = lost.iter().map(|grant| grant.token).max().unwrap();
        assert!(grant.token > highest, "{key}: {} after {highest}", grant.token);
        assert_eq!(grant.body["guarded"], true, "it is guarded still");
        assert_eq!(user.guard_alone(key, &grant.version).await, Ok(grant.token), "{key}");
        restored.post(&format!("{path}/release"), json!({"version": grant.version})).await.unheld(200);
    }
    restored.lock("gone").await.unheld(200);
    assert!(
        restored.hold("new").await.token > 1 << 22,
        "keys that the backup does not know begin above, too"
    );
}

/// Guards invariants 1 and 2.
async fn running_replicas_follow_a_raise_by_hand_within_two_seconds(database: Database) {
    let services = [Service::start(&database.url).await, Service::start(&database.url).await];
    let svc = services[0].client();
    try_until_undisturbed(TRIES, async || {
        let held = svc.hold("held").await;
        svc.heartbeat("held", &held.version).await.grant();
        raise(&database).await;
        let begin = std::time::Instant::now();
        svc.heartbeat("held", &held.version).await.problem(409, "version-mismatch");
        for service in &services {
            let there = svc.at(service.port());
            let follows = async || {
                let grant = there.acquire("k", json!({"wait_ms": 5_000})).await.grant();
                there.release("k", &grant.version).await.unheld(200);
                (grant.token >> 22 > held.token >> 22).then_some(grant.token)
            };
            eventually("it grants tokens of the new epoch", SOON, follows).await;
        }
        let took = begin.elapsed();
        expect(took < Duration::from_millis(2_500), || format!("followed after {took:?}"))
    })
    .await;
}

async fn an_epoch_is_not_raised_without_a_yes(database: Database) {
    let service = Service::start(&database.url).await;
    let svc = service.client();
    let held = svc.hold("k").await;
    let output = run_program(&database.url, &["epoch", "raise"]).await;
    assert!(!output.status.success());
    assert_eq!(svc.heartbeat("k", &held.version).await.grant().token, held.token);
}
