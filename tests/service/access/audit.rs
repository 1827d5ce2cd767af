//! The audit log with authentication: callers, their actions, and refused credentials.

use serde_json::{Value, json};

use super::Guarded;
use crate::support::{Dialect, SOON, eventually};

#[tokio::test]
async fn records_name_callers_and_refused_credentials() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let guarded = Guarded::start_with(&database, &[("DB_LOCKS_AUDIT_LOG", path.to_str().unwrap())]).await;
    let made = guarded.admin.post("/tokens", json!({"name": "ci", "role": "write"})).await.expect(201).body;
    let secret = made["token"].as_str().unwrap();
    let ci = guarded.service.client().with_token(secret);
    let grant = ci.hold("k").await;
    guarded.service.client().lock("k").await.problem(401, "unauthorized");
    guarded.service.client().with_token("dbl_unknown").lock("k").await.problem(401, "unauthorized");
    let admin = guarded.admin.with_tenant(ci.tenant());
    admin.post("/locks/k/release", json!({"force": true, "reason": "stuck"})).await.unheld(200);
    let problem = ci.heartbeat("k", &grant.version).await;
    assert_eq!(problem.problem(409, "revoked")["revoked_by"], "token:bootstrap");
    admin.delete(&format!("/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
    let records = async || {
        let text = std::fs::read_to_string(&path).unwrap();
        let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!text.contains(secret) && !text.contains(super::FIRST_ADMIN), "{text}");
        (records.len() >= 6).then_some(records)
    };
    let records = eventually("six records", SOON, records).await;
    let is_of_now = |record: &Value| record["time"].as_str().is_some_and(|time| time > "2026");
    assert!(records.iter().all(is_of_now), "before the first lock was asked for, too: {records:?}");
    let recorded: Vec<_> = records
        .iter()
        .map(|record| (record["event"].as_str().unwrap(), record["who"].as_str(), record["status"].as_i64()))
        .collect();
    let expected = [
        ("token_created", Some("token:bootstrap"), Some(201)),
        ("granted", Some("token:ci"), Some(200)),
        ("authentication_failed", None, Some(401)),
        ("authentication_failed", None, Some(401)),
        ("forced", Some("token:bootstrap"), Some(200)),
        ("token_revoked", Some("token:bootstrap"), Some(204)),
    ];
    assert_eq!(recorded, expected);
    assert!(records[0]["reason"].as_str().unwrap().starts_with("ci (write, "), "{}", records[0]);
    assert_eq!(records[2]["client"], "127.0.0.1");
    assert_eq!(records[1]["owner"], "anonymous");
}

#[tokio::test]
async fn failed_authentications_are_recorded_up_to_a_limit() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let guarded = Guarded::start_with(&database, &[("DB_LOCKS_AUDIT_LOG", path.to_str().unwrap())]).await;
    let stranger = guarded.service.client();
    let begin = std::time::Instant::now();
    // On a busy machine it takes longer to exceed the limit.
    for sent in 1..=1_000 {
        stranger.lock("k").await.problem(401, "unauthorized");
        if sent % 100 != 0 {
            continue;
        }
        let seconds = usize::try_from(begin.elapsed().as_secs()).unwrap() + 2;
        let count = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!((1..=20 * seconds).contains(&count), "{count} in {seconds} s");
        if count < sent {
            return;
        }
    }
    panic!("all are recorded");
}
