//! `--guarded`: a transaction of the database relies on the grant of a command.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::{
    calls::json,
    process::{Running, program},
};
use crate::{
    guards::user::User,
    support::{Client, Database, Dialect, Service},
};

async fn set_up() -> (Database, Service, Client, User) {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start(&database.url).await;
    let client = service.client();
    let user = User::of(&database, &client).await;
    (database, service, client, user)
}

fn refused() -> Result<i64, String> {
    Err("DL001".to_owned())
}

#[tokio::test]
async fn a_transaction_passes_with_the_version_that_acquire_prints_until_the_release() {
    let (_database, _service, client, user) = set_up().await;
    let grant = json(&client, &["acquire", "k", "--guarded", "--lease", "60s"]).await;
    let version = grant["version"].as_str().unwrap();
    assert_eq!(grant["guarded"], true);
    assert_eq!(user.guard_alone("k", version).await, Ok(1));
    assert_eq!(json(&client, &["release", "k", version]).await["guarded"], true);
    assert_eq!(user.guard_alone("k", version).await, refused());
    let plain = json(&client, &["acquire", "plain"]).await;
    assert_eq!(plain["guarded"], false);
    assert_eq!(user.guard_alone("plain", plain["version"].as_str().unwrap()).await, refused());
}

#[tokio::test]
async fn a_transaction_passes_while_the_command_of_run_runs() {
    let (_database, _service, client, user) = set_up().await;
    let script = r#"echo "$DB_LOCKS_VERSION"; read -r _"#;
    let mut command = program(&client, &["run", "k", "--guarded", "--", "sh", "-c", script]);
    command.stdin(Stdio::piped());
    let mut run = Running::start(command);
    let version = run.line().await;
    assert_eq!(client.lock("k").await.grant().body["guarded"], true);
    assert_eq!(user.guard_alone("k", &version).await, Ok(1));
    run.input().write_all(b"\n").await.unwrap();
    assert_eq!(run.end().await, Some(0));
    assert_eq!(user.guard_alone("k", &version).await, refused());
}

#[tokio::test]
async fn permits_of_a_guarded_semaphore_are_guarded() {
    let (_database, _service, client, user) = set_up().await;
    let semaphore = json(&client, &["semaphore", "put", "s", "--max-size", "2", "--guarded"]).await;
    assert_eq!(semaphore["guarded"], true);
    let permit = json(&client, &["acquire", "s", "--semaphore"]).await;
    assert_eq!(permit["guarded"], Value::from(true));
    let version = permit["version"].as_str().unwrap();
    assert_eq!(user.guard_alone("s", version).await, Ok(1));
    // A change of the size does not end the guard.
    assert_eq!(json(&client, &["semaphore", "put", "s", "--max-size", "3"]).await["guarded"], true);
}
