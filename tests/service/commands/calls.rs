//! The calls one by one, as text and as JSON.

use serde_json::{Value, json};

use super::process::{exit_code, output, program};
use crate::support::{Client, Dialect, service::shared};

pub(super) async fn json(client: &Client, arguments: &[&str]) -> Value {
    let output = output(program(client, &[arguments, &["--json"]].concat())).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn text(client: &Client, arguments: &[&str]) -> String {
    let (code, text) = exit_code(program(client, arguments)).await;
    assert_eq!(code, Some(0), "{arguments:?}: {text}");
    text
}

#[tokio::test]
async fn a_lock_is_taken_kept_shown_and_given_back() {
    let client = shared(Dialect::Sqlite).await.unwrap();
    let grant = json(&client, &["acquire", "k", "--lease", "60s", "--owner", "me", "--data", "d"]).await;
    let version = grant["version"].as_str().unwrap();
    assert_eq!((&grant["locked"], &grant["fencing_token"]), (&Value::from(true), &Value::from(1)));
    assert_eq!(exit_code(program(&client, &["acquire", "k", "--no-wait"])).await.0, Some(75));
    let again = json(&client, &["acquire", "k", "--owner", "me", "--version", version]).await;
    assert_eq!(again["version"], grant["version"]);
    assert_eq!(
        json(&client, &["heartbeat", "k", version, "--lease", "90s"]).await["lease_duration_ms"],
        90_000
    );
    assert_eq!(json(&client, &["get", "k"]).await["data"], "d");
    assert!(text(&client, &["get", "k"]).await.contains("owner       me\n"));
    let list = text(&client, &["list", "--locked"]).await;
    assert!(list.starts_with("KEY  LOCKED  OWNER"), "{list}");
    assert_eq!(json(&client, &["list", "--free"]).await["items"], Value::Array(vec![]));
    assert_eq!(json(&client, &["release", "k", version]).await["locked"], false);
    let refused = exit_code(program(&client, &["heartbeat", "k", version])).await;
    assert_eq!(refused.0, Some(76), "{}", refused.1);
    assert_eq!(exit_code(program(&client, &["get", "absent"])).await.0, Some(1));
}

/// The time limit of a heartbeat does not depend on the lease that it asks for.
#[tokio::test]
async fn a_lease_may_be_made_shorter_than_an_answer_takes() {
    let client = shared(Dialect::Sqlite).await.unwrap();
    for _ in 0..10 {
        let grant = json(&client, &["acquire", "k", "--lease", "60s"]).await;
        json(&client, &["heartbeat", "k", grant["version"].as_str().unwrap(), "--lease", "1ms"]).await;
    }
}

#[tokio::test]
async fn an_operator_ends_a_grant_and_its_holder_is_told_why() {
    let client = shared(Dialect::Sqlite).await.unwrap();
    let grant = json(&client, &["acquire", "k"]).await;
    let version = grant["version"].as_str().unwrap();
    assert_eq!(exit_code(program(&client, &["release", "k"])).await.0, Some(64));
    assert_eq!(exit_code(program(&client, &["release", "k", version, "--reason", "x"])).await.0, Some(64));
    let arguments = ["release", "k", "--force", "--reason", "stuck since \u{1b}[2Jnoon"];
    assert_eq!(json(&client, &arguments).await["locked"], false);
    let (code, text) = exit_code(program(&client, &["heartbeat", "k", version])).await;
    assert_eq!(code, Some(76), "{text}");
    assert!(text.contains("stuck since \\u{1b}[2Jnoon"), "a reason does not write to the terminal: {text:?}");
    json(&client, &["semaphore", "put", "s", "--max-size", "1"]).await;
    let permit = json(&client, &["acquire", "s", "--semaphore"]).await;
    assert_eq!(exit_code(program(&client, &["release", "s", "--force"])).await.0, Some(64));
    json(&client, &["release", "s", permit["version"].as_str().unwrap(), "--force"]).await;
}

/// A key, an owner or data cannot control the terminal of the person who reads it.
#[tokio::test]
async fn text_of_others_is_shown_escaped() {
    let is_control = |character: char| matches!(character, '\u{7f}'..='\u{9f}' | '\u{2028}'..='\u{202e}');
    let client = shared(Dialect::Sqlite).await.unwrap();
    let (owner, key) = ("o\u{9b}2J\u{7f}", "k\u{202e}");
    client.acquire("k%E2%80%AE", json!({"owner": owner, "data": "d\u{85}"})).await.grant();
    for arguments in [&["get", key][..], &["list"], &["acquire", key, "--no-wait"], &["heartbeat", key, "v"]]
    {
        for json in [&[][..], &["--json"]] {
            let arguments = [arguments, json].concat();
            let (_, text) = exit_code(program(&client, &arguments)).await;
            assert!(!text.contains(is_control), "{arguments:?}: {text:?}");
        }
    }
    assert!(text(&client, &["list"]).await.contains("k\\u{202e}  yes     o\\u{9b}2J\\u{7f}"));
    let shown = json(&client, &["get", key]).await;
    assert_eq!((&shown["owner"], &shown["data"]), (&Value::from(owner), &Value::from("d\u{85}")));
}

/// The service would read a lease of zero as the default, and its answer would have no time.
#[tokio::test]
async fn a_lease_of_zero_is_bad_usage() {
    let client = shared(Dialect::Sqlite).await.unwrap();
    let grant = json(&client, &["acquire", "held", "--lease", "60s"]).await;
    let heartbeat = ["heartbeat", "held", grant["version"].as_str().unwrap()];
    let calls: [&[&str]; 4] =
        [&["run", "k"], &["acquire", "k"], &heartbeat, &["semaphore", "put", "k", "--max-size", "1"]];
    for call in calls {
        for lease in ["0", "0ms", "0s", "0m", "0h"] {
            let arguments = [call, &["--lease", lease]].concat();
            let (code, text) = exit_code(program(&client, &arguments)).await;
            assert_eq!(code, Some(64), "{arguments:?}: {text}");
            assert!(text.contains("at least 1ms"), "{arguments:?}: {text}");
        }
    }
    assert_eq!(client.lock("k").await.status, 404, "nothing was asked");
    json(&client, &["acquire", "k", "--lease", "1ms"]).await;
}

#[tokio::test]
async fn a_semaphore_is_made_used_and_deleted() {
    let client = shared(Dialect::Sqlite).await.unwrap();
    assert_eq!(json(&client, &["semaphore", "put", "s", "--max-size", "3"]).await["max_size"], 3);
    let permit = json(&client, &["acquire", "s", "--semaphore", "--no-wait"]).await;
    assert_eq!(json(&client, &["permits", "s"]).await["items"][0]["version"], permit["version"]);
    assert_eq!(json(&client, &["semaphore", "get", "s"]).await["busy_count"], 1);
    assert!(text(&client, &["semaphore", "list"]).await.starts_with("KEY  SIZE  BUSY"));
    assert_eq!(exit_code(program(&client, &["semaphore", "delete", "s"])).await.0, Some(1));
    json(&client, &["release", "s", permit["version"].as_str().unwrap()]).await;
    assert_eq!(json(&client, &["semaphore", "delete", "s"]).await["deleted"], true);
}
