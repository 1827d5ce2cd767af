//! The audit log: what happens to a key, one record each, on every database.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    guards::user::User,
    support::{Client, Database, Dialect, SOON, Service, eventually, time::epoch_ms},
};

on_every_database![with_database:
    every_event_of_a_key_is_recorded_once,
    an_expiry_without_further_requests_is_recorded_once,
    a_grant_that_is_ended_during_its_transaction_is_recorded_once_with_the_operator,
];

/// A service whose audit log is a file.
struct Audited {
    service: Service,
    folder: tempfile::TempDir,
}

impl Audited {
    async fn start(database: &Database, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let settings = [&[("DB_LOCKS_AUDIT_LOG", path.to_str().unwrap())], settings].concat();
        Self { service: Service::start_with(&database.url, &settings).await, folder }
    }

    fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The records, once there are `count` of them.
    async fn until(&self, count: usize) -> Vec<Value> {
        let enough = async || Some(self.records()).filter(|records| records.len() >= count);
        eventually(&format!("{count} records"), SOON, enough).await
    }
}

/// Event, key, owner and status of a record.
fn fields_of(record: &Value) -> (&str, &str, &str, i64) {
    let text = |name: &str| record[name].as_str().unwrap_or("-");
    (text("event"), text("key"), text("owner"), record["status"].as_i64().unwrap_or(0))
}

async fn post(svc: &Client, id: &str, path: &str, body: Value) {
    let request = svc.request(Method::POST, path).header("x-request-id", id).json(&body);
    svc.send(request).await;
}

async fn every_event_of_a_key_is_recorded_once(database: Database) {
    let audited = Audited::start(&database, &[]).await;
    let svc = audited.service.client();
    let version = "0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42";
    let first =
        json!({"owner": "first", "version": version, "lease_duration_ms": 60_000, "data": "the data"});
    post(&svc, "request-1", "/locks/k/acquire", first.clone()).await;
    post(&svc, "request-2", "/locks/k/acquire", first).await;
    post(&svc, "request-3", "/locks/k/acquire", json!({"owner": "second", "wait_ms": 0})).await;
    post(&svc, "request-4", "/locks/k/acquire", json!({"owner": "third", "wait_ms": 30})).await;
    let next = svc.queue_up("k", json!({"owner": "next", "wait_ms": 20_000}), 1).await;
    post(&svc, "request-5", "/locks/k/release", json!({"version": version})).await;
    post(&svc, "request-6", "/locks/k/release", json!({"version": version})).await;
    let next = next.await.unwrap().grant();
    post(&svc, "request-7", "/locks/k/heartbeat", json!({"version": next.version})).await;
    post(&svc, "request-8", "/locks/k/release", json!({"force": true, "reason": "stuck"})).await;
    svc.put("/semaphores/s", json!({"max_size": 1})).await.expect(201);
    svc.put("/semaphores/s", json!({"max_size": 2})).await.expect(200);
    let permit = svc.post("/semaphores/s/acquire", json!({"owner": "worker"})).await.grant();
    svc.post("/locks/s/release", json!({"version": permit.version})).await.unheld(200);
    svc.delete("/semaphores/s").await.expect(204);
    let last = svc.acquire("k", json!({"owner": "last"})).await.grant();
    svc.delete(&format!("/locks/k?version={}", last.version)).await.expect(204);
    let records = audited.until(12).await;
    let expected = [
        ("granted", "k", "first", 200),
        ("refused", "k", "second", 423),
        ("refused", "k", "third", 423),
        ("released", "k", "first", 200),
        ("granted", "k", "next", 200),
        ("forced", "k", "next", 200),
        ("resized", "s", "-", 200),
        ("granted", "s", "worker", 200),
        ("released", "s", "worker", 200),
        ("deleted", "s", "-", 204),
        ("granted", "k", "last", 200),
        ("deleted", "k", "last", 204),
    ];
    assert_eq!(records.iter().map(fields_of).collect::<Vec<_>>(), expected);
    let granted = &records[0];
    assert_eq!(granted["version"], "0199a3c0", "the whole is a right");
    assert_eq!((&granted["request_id"], &granted["kind"]), (&json!("request-1"), &json!("lock")));
    assert_eq!((&granted["client"], granted.get("who")), (&json!("127.0.0.1"), Some(&Value::Null)));
    assert_eq!((&granted["tenant"], &granted["fencing_token"]), (&json!(svc.tenant()), &json!(1)));
    assert_eq!((&records[1]["reason"], &records[2]["reason"]), (&json!("no_wait"), &json!("timed_out")));
    assert_eq!(records[2]["request_id"], "request-4");
    assert_eq!(records[3]["fencing_token"], 1);
    assert_eq!(records[4]["fencing_token"], next.token);
    assert_eq!((&records[5]["reason"], &records[5]["request_id"]), (&json!("stuck"), &json!("request-8")));
    assert_eq!(records[7]["kind"], "semaphore");
    assert!(records.iter().map(|record| epoch_ms(&record["time"])).all(|time| time > 1_700_000_000_000));
    let text = format!("{records:?}");
    assert!(!text.contains("the data") && !text.contains(&last.version) && !text.contains(version), "{text}");
}

async fn an_expiry_without_further_requests_is_recorded_once(database: Database) {
    let audited = Audited::start(&database, &[("DB_LOCKS_SWEEP_PERIOD_MS", "200")]).await;
    let svc = audited.service.client();
    svc.acquire("k", json!({"owner": "gone", "lease_duration_ms": 1, "wait_ms": 0})).await;
    svc.put("/semaphores/s", json!({"max_size": 1})).await.expect(201);
    svc.post("/semaphores/s/acquire", json!({"owner": "gone", "lease_duration_ms": 1})).await;
    let expired = |records: &[Value]| {
        let mut keys: Vec<_> = records
            .iter()
            .filter(|it| it["event"] == "expired")
            .map(fields_of)
            .map(|it| it.1.to_owned())
            .collect();
        keys.sort();
        keys
    };
    let both = async || Some(expired(&audited.records())).filter(|keys| keys.len() >= 2);
    assert_eq!(eventually("both are recorded", Duration::from_secs(30), both).await, ["k", "s"]);
    // The next grant finds them expired, and does not say so again. One that it finds first is recorded then.
    svc.acquire("k", json!({"owner": "next", "lease_duration_ms": 1, "wait_ms": 0})).await;
    svc.post("/semaphores/s/acquire", json!({"owner": "next", "lease_duration_ms": 60_000})).await.grant();
    svc.acquire("k", json!({"owner": "last"})).await.grant();
    let granted = |records: &[Value]| records.iter().filter(|it| fields_of(it).2 == "last").count();
    let last = async || Some(audited.records()).filter(|records| granted(records) == 1);
    let records = eventually("the last grant is recorded", SOON, last).await;
    assert_eq!(expired(&records), ["k", "k", "s"]);
    let found =
        records.iter().filter(|it| it["event"] == "expired").find(|it| fields_of(it).2 == "next").unwrap();
    assert_eq!((found.get("who"), found.get("client")), (Some(&Value::Null), None));
}

/// The record is written when the grant ends, and the operator is answered when the transaction has ended.
async fn a_grant_that_is_ended_during_its_transaction_is_recorded_once_with_the_operator(database: Database) {
    // SQLite has one writer at a time.
    if database.dialect == Dialect::Sqlite {
        return;
    }
    let audited = Audited::start(&database, &[("DB_LOCKS_GUARD_WAIT_MS", "200")]).await;
    let svc = audited.service.client();
    let user = User::of(&database, &svc).await;
    let ask = json!({"owner": "me", "guarded": true, "lease_duration_ms": 60_000});
    let grant = svc.acquire("k", ask).await.grant();
    user.begin().await;
    assert_eq!(user.guard("k", &grant.version).await, Ok(grant.token));
    post(&svc, "request-1", "/locks/k/release", json!({"force": true, "reason": "stuck"})).await;
    post(&svc, "request-2", "/locks/k/release", json!({"version": grant.version})).await;
    user.run("COMMIT").await;
    svc.until_free("k", SOON).await;
    svc.acquire("k", json!({"owner": "next"})).await.grant();
    let records = audited.until(3).await;
    let expected = [("granted", "k", "me", 200), ("forced", "k", "me", 0), ("granted", "k", "next", 200)];
    assert_eq!(records.iter().map(fields_of).collect::<Vec<_>>(), expected);
    assert_eq!((&records[1]["reason"], &records[1]["request_id"]), (&json!("stuck"), &json!("request-1")));
    assert_eq!(records[1]["client"], "127.0.0.1");
}
