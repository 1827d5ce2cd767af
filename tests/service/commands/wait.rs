//! Commands wait for other holders by default, and for a service or database that is away only with `--wait`.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    calls::json,
    process::{Running, exit_code, program, program_at},
};
use crate::support::{
    Client, Database, Dialect, SOON, Service, eventually, names::free_port, random_version, sql,
};

/// Less than any command waits for a lock by default.
const AT_ONCE: Duration = Duration::from_secs(10);
/// Commands that need the service, with free and held locks and a semaphore.
const CALLS: [&[&str]; 8] = [
    &["run", "free", "--", "true"],
    &["run", "held", "--", "true"],
    &["run", "s", "--semaphore", "--", "true"],
    &["acquire", "free"],
    &["acquire", "held"],
    &["acquire", "s", "--semaphore"],
    &["acquire", "free", "--no-wait"],
    &["semaphore", "put", "s", "--max-size", "2"],
];

/// Fails unless the command ends with 69 within this range of time.
async fn is_away(url: &str, tenant: &str, arguments: &[&str], after: Duration, within: Duration) {
    let begun = Instant::now();
    let (code, text) = exit_code(program_at(url, tenant, arguments)).await;
    let took = begun.elapsed();
    assert_eq!(code, Some(69), "{arguments:?}: {text}");
    assert!(after <= took && took < within, "{arguments:?} took {took:?}: {text}");
}

/// Reads work and writes are answered 503, as after a migration of a newer version.
async fn refusing(database: &Database) -> (Service, Client) {
    let service = Service::start(&database.url).await;
    let client = service.client();
    client.hold("held").await;
    json(&client, &["semaphore", "put", "s", "--max-size", "1"]).await;
    let newer = "INSERT INTO db_locks_migrations VALUES ('m29991231_000001_from_the_future', 0)";
    sql::execute(&database.url, newer).await.unwrap();
    let refuses = async || {
        let answer = client.acquire("fresh", json!({"wait_ms": 0, "lease_duration_ms": 1})).await;
        (answer.status == 503).then_some(())
    };
    eventually("writes are refused", SOON, refuses).await;
    (service, client)
}

#[tokio::test]
async fn a_503_is_waited_out_with_wait_only() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let (_service, client) = refusing(&database).await;
    let url = format!("http://127.0.0.1:{}", client.port());
    let version = random_version();
    let chosen: &[&str] = &["acquire", "free", "--version", &version];
    for arguments in CALLS.iter().chain([&chosen]) {
        is_away(&url, client.tenant(), arguments, Duration::ZERO, AT_ONCE).await;
    }
    let wait = Duration::from_secs(1);
    for arguments in
        [&["run", "free", "--wait", "1s", "--", "true"][..], &["acquire", "free", "--wait", "1s"]]
    {
        is_away(&url, client.tenant(), arguments, wait, AT_ONCE).await;
    }
    let mut run = Running::start(program(&client, &["run", "free", "--wait", "60s", "--", "echo", "it ran"]));
    let undone = "DELETE FROM db_locks_migrations WHERE version = 'm29991231_000001_from_the_future'";
    sql::execute(&database.url, undone).await.unwrap();
    assert_eq!(run.line().await, "it ran");
    assert_eq!(run.end().await, Some(0));
}

#[tokio::test]
async fn a_refused_connection_is_waited_out_with_wait_only() {
    let port = free_port();
    let service = format!("http://127.0.0.1:{port}");
    let database = format!("postgres://u:secret-word@127.0.0.1:{port}/locks");
    for url in [&service, &database] {
        for arguments in CALLS {
            is_away(url, "default", arguments, Duration::ZERO, AT_ONCE).await;
        }
        let (_, text) = exit_code(program_at(url, "default", &["get", "k"])).await;
        assert!(text.contains("refused") && !text.contains("secret-word"), "{text}");
        let wait = Duration::from_secs(1);
        for arguments in [&["run", "k", "--wait", "1s", "--", "true"][..], &["acquire", "k", "--wait", "1s"]]
        {
            is_away(url, "default", arguments, wait, AT_ONCE).await;
        }
    }
}

/// Waiting does not help against a wrong password.
#[tokio::test]
async fn a_permanent_refusal_of_the_database_ends_the_wait_with_its_cause() {
    for dialect in Dialect::SERVERS {
        let Some(database) = dialect.database().await else { continue };
        let (scheme, rest) = database.url.split_once("://").unwrap();
        let (server, name) = rest.rsplit_once('/').unwrap();
        let host = server.rsplit_once('@').map_or(server, |(_, host)| host);
        let stranger = format!("{scheme}://stranger:secret-word@{host}/{name}");
        let nowhere = format!("{scheme}://{server}/no_such_database");
        for (url, code, cause) in [(stranger, 77, "stranger"), (nowhere, 64, "no_such_database")] {
            let begun = Instant::now();
            let arguments = ["run", "k", "--wait", "60s", "--", "true"];
            let (ended, text) = exit_code(program_at(&url, "default", &arguments)).await;
            assert_eq!(ended, Some(code), "{text}");
            assert!(text.contains(cause) && !text.contains("secret-word"), "{text}");
            assert!(begun.elapsed() < AT_ONCE, "{text}");
        }
    }
}

#[tokio::test]
async fn a_database_that_comes_within_the_wait_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("locks.sqlite");
    let url = format!("sqlite://{}?mode=rw", file.display());
    let arguments = ["run", "k", "--wait", "60s", "--", "echo", "it ran"];
    let mut run = Running::start(program_at(&url, "default", &arguments));
    let _service = Service::start(file.to_str().unwrap()).await;
    assert_eq!(run.line().await, "it ran");
    assert_eq!(run.end().await, Some(0));
}

/// A restart of the service does not end a command that waits for other holders, however short its wait was.
#[tokio::test]
async fn a_restart_while_the_lock_is_waited_for_goes_unnoticed() {
    for signal in ["KILL", "TERM"] {
        goes_unnoticed(signal).await;
    }
}

async fn goes_unnoticed(signal: &str) {
    let database = Dialect::Sqlite.database().await.unwrap();
    let mut service = Service::start(&database.url).await;
    let client = service.client();
    let held = client.hold("k").await;
    let mut run = Running::start(program(&client, &["run", "k", "--", "echo", "it ran"]));
    client.until_waiters("/locks/k", 1).await;
    service.signal(signal);
    service.end(SOON).await;
    let address = format!("127.0.0.1:{}", client.port());
    let _again = Service::start_at(&database.url, &[("DB_LOCKS_LISTEN", &address)], client.port()).await;
    client.release("k", &held.version).await.expect(200);
    assert_eq!(run.line().await, "it ran");
    assert_eq!(run.end().await, Some(0));
}
