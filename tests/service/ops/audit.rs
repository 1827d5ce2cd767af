//! The audit log as a file: its mode, its rotation, and records that cannot be written.

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Dialect, SOON, Service, eventually, service::run_program_with};

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn until_lines(path: &Path, count: usize) -> Vec<Value> {
    let enough = async || Some(lines(path)).filter(|lines| lines.len() >= count);
    eventually(&format!("{count} lines"), SOON, enough).await
}

#[tokio::test]
async fn the_file_is_private_appended_to_and_opened_anew_at_sighup() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let settings = [("DB_LOCKS_AUDIT_LOG", path.to_str().unwrap())];
    let mut service = Service::start_with(&database.url, &settings).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let svc = service.client();
    svc.acquire("a", json!({})).await.grant();
    until_lines(&path, 1).await;
    let moved = folder.path().join("audit.1");
    std::fs::rename(&path, &moved).unwrap();
    service.signal("HUP");
    eventually("the file is opened again", SOON, async || path.exists().then_some(())).await;
    svc.acquire("b", json!({})).await.grant();
    assert_eq!(until_lines(&path, 1).await[0]["key"], "b");
    assert_eq!(lines(&moved).len(), 1);
    service.signal("TERM");
    assert!(service.end(Duration::from_secs(10)).await.success());
    let again = Service::start_with(&database.url, &settings).await;
    again.client().acquire("c", json!({})).await.grant();
    let keys: Vec<_> = until_lines(&path, 2).await.iter().map(|line| line["key"].clone()).collect();
    assert_eq!(keys, ["b", "c"]);
}

#[tokio::test]
async fn a_path_that_cannot_be_written_ends_the_start() {
    let database = Dialect::Sqlite.database().await.unwrap();
    for path in ["/proc/audit.jsonl", "/nowhere/audit.jsonl", "/tmp"] {
        let output = run_program_with(&database.url, &[("DB_LOCKS_AUDIT_LOG", path)], &[]).await;
        assert!(!output.status.success());
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("audit log") && said.contains(path), "{said}");
    }
}

#[tokio::test]
async fn a_full_disk_costs_records_and_nothing_else() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start_with(&database.url, &[("DB_LOCKS_AUDIT_LOG", "/dev/full")]).await;
    let svc = service.client();
    let begin = Instant::now();
    for number in 0..20 {
        svc.hold(&format!("k{number}")).await;
    }
    let dropped = async || {
        let metrics = svc.get("/metrics").await.text;
        let line =
            metrics.lines().find(|line| line.starts_with("db_locks_audit_records_dropped_total"))?.to_owned();
        line.rsplit(' ').next()?.parse::<u64>().ok().filter(|dropped| *dropped == 20)
    };
    eventually("they are counted", SOON, dropped).await;
    service.until_logged("audit records are dropped").await;
    let log = service.log();
    let said = log.lines().filter(|line| line.contains("audit records are dropped")).count();
    let seconds = usize::try_from(begin.elapsed().as_secs()).unwrap();
    assert!((1..=seconds + 3).contains(&said), "once a second: {log}");
    svc.get("/ready").await.expect(200);
}

#[tokio::test]
async fn records_go_to_standard_error_and_name_the_client_behind_a_trusted_proxy() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let settings = [("DB_LOCKS_AUDIT_LOG", "stderr"), ("DB_LOCKS_TRUSTED_PROXIES", "127.0.0.0/8")];
    let service = Service::start_with(&database.url, &settings).await;
    let svc = service.client();
    let request =
        svc.request(Method::POST, "/locks/k/acquire").header("x-forwarded-for", "198.51.100.1, 203.0.113.9");
    svc.send(request).await.grant();
    let record = async || {
        let log = service.log();
        let line = log.lines().find(|line| line.starts_with("{\"time\""))?;
        serde_json::from_str::<Value>(line).ok()
    };
    assert_eq!(eventually("it is recorded", SOON, record).await["client"], "203.0.113.9");
}
