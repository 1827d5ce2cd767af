//! `db-locks run`: the environment of the command, and the exit codes.

use std::{process::Stdio, time::Duration};

use rustix::process::Signal;
use serde_json::json;
use tokio::{io::AsyncWriteExt, process::Command};

use super::process::{Running, as_client, exit_code, program, program_at, state_of};
use crate::support::{
    Client, Dialect, SOON, Service, eventually,
    names::free_port,
    service::{PROGRAM, shared},
};

/// A caller of the service that the conformance cases share.
async fn client() -> Client {
    shared(Dialect::Sqlite).await.unwrap()
}

#[tokio::test]
async fn the_exit_code_is_the_commands_own_and_the_lock_is_free_after_it() {
    let client = client().await;
    let cases: [(&[&str], i32); 5] = [
        (&["sh", "-c", "exit 0"], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "kill -KILL $$"], 128 + 9),
        (&["/no/such/program"], 127),
        (&["/etc/passwd"], 126),
    ];
    for (command, expected) in cases {
        let arguments = [&["run", "k", "--"], command].concat();
        let (code, text) = exit_code(program(&client, &arguments)).await;
        assert_eq!(code, Some(expected), "{command:?}: {text}");
        client.lock("k").await.unheld(200);
    }
}

#[tokio::test]
async fn the_command_has_standard_input_and_knows_its_grant() {
    let client = client().await;
    let script = r#"cat; echo "$DB_LOCKS_KEY $DB_LOCKS_FENCING_TOKEN $DB_LOCKS_OWNER ${#DB_LOCKS_VERSION}""#;
    let arguments = ["run", "a/b", "--owner", "me", "--", "sh", "-c", script];
    let mut child = program(&client, &arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from outside\n").await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "from outside\na/b 1 me 36\n");
}

#[tokio::test]
async fn a_held_lock_ends_with_75_or_is_skipped() {
    let client = client().await;
    client.hold("k").await;
    let cases: [(&[&str], i32); 4] = [
        (&["--no-wait"], 75),
        (&["--wait", "50ms"], 75),
        (&["--skip-if-locked"], 0),
        (&["--skip-if-locked", "--wait", "50ms"], 0),
    ];
    for (options, expected) in cases {
        let arguments = [&["run", "k"], options, &["--", "sh", "-c", "echo it ran"]].concat();
        let (code, text) = exit_code(program(&client, &arguments)).await;
        assert_eq!(code, Some(expected), "{options:?}: {text}");
        assert!(!text.contains("it ran"), "{options:?}");
    }
}

#[tokio::test]
async fn a_service_that_is_away_ends_with_69_and_bad_usage_with_64() {
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    for options in [&[][..], &["--no-wait"], &["--skip-if-locked"], &["--wait", "100ms"]] {
        let arguments = [&["run", "k"], options, &["--", "true"]].concat();
        let (code, text) = exit_code(program_at(&nowhere, "default", &arguments)).await;
        assert_eq!(code, Some(69), "{options:?}: {text}");
    }
    let client = client().await;
    let wrong: [&[&str]; 5] = [
        &["run", "k"],
        &["run", "k", "--lease", "soon", "--", "true"],
        &["run", "k", "--wait", "1s", "--no-wait", "--", "true"],
        &["run", "k", "--lease", "9000h", "--no-wait", "--", "true"],
        &["run", "..", "--", "true"],
    ];
    for arguments in wrong {
        let (code, text) = exit_code(program(&client, arguments)).await;
        assert_eq!(code, Some(64), "{arguments:?}: {text}");
    }
}

#[tokio::test]
async fn a_signal_goes_to_the_command_and_the_lock_is_released_after_it() {
    let client = client().await;
    let script = r#"trap 'echo stopping; exit 3' TERM; echo ready; while :; do sleep 0.02; done"#;
    let mut run = Running::start(program(&client, &["run", "k", "--", "sh", "-c", script]));
    assert_eq!(run.line().await, "ready");
    run.signal(Signal::TERM);
    assert_eq!(run.line().await, "stopping");
    assert_eq!(run.end().await, Some(3));
    client.lock("k").await.unheld(200);
}

/// As `timeout` and shells do: a signal would reach the command only when somebody continues it.
#[tokio::test]
async fn a_stopped_command_is_continued_to_end_by_a_signal() {
    let client = client().await;
    let script = r#"trap 'exit 3' HUP INT TERM; echo $$; kill -STOP $$; while :; do sleep 0.02; done"#;
    for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
        let mut run = Running::start(program(&client, &["run", "k", "--", "sh", "-c", script]));
        let command = run.process_ids().await;
        eventually("the command is stopped", SOON, async || {
            (state_of(command[0]) == Some('T')).then_some(())
        })
        .await;
        run.signal(signal);
        assert_eq!(run.end().await, Some(3), "{signal:?}");
        client.lock("k").await.unheld(200);
    }
}

#[tokio::test]
async fn a_signal_while_it_waits_leaves_the_queue() {
    let client = client().await;
    let held = client.hold("k").await;
    let mut run = Running::start(program(&client, &["run", "k", "--", "sh", "-c", "echo it ran"]));
    client.until_waiters("/locks/k", 1).await;
    run.signal(Signal::TERM);
    assert_eq!(run.end().await, Some(128 + 15));
    let next = client.post_aside("/locks/k/acquire", json!({}));
    client.release("k", &held.version).await.expect(200);
    // The next waiter is granted the lock at once.
    next.await.unwrap().grant();
}

#[tokio::test]
async fn a_minimal_time_is_left_to_the_lease() {
    let client = client().await;
    let arguments = ["run", "k", "--lease", "9m", "--min-hold", "60s", "--", "true"];
    assert_eq!(exit_code(program(&client, &arguments)).await.0, Some(0));
    let kept = client.lock("k").await;
    assert_eq!(kept.body["locked"], true, "{}", kept.text);
    assert!(kept.body["expires_in_ms"].as_i64().unwrap() <= 60_000, "{}", kept.text);
}

#[tokio::test]
async fn permits_are_taken_with_a_semaphore() {
    let client = client().await;
    client.put("/semaphores/s", json!({"max_size": 1})).await.expect(201);
    let script = "echo $DB_LOCKS_VERSION; while :; do sleep 0.02; done";
    let mut run = Running::start(program(&client, &["run", "s", "--semaphore", "--", "sh", "-c", script]));
    let version = run.line().await;
    let permits = client.get("/semaphores/s/permits").await;
    assert_eq!(permits.body["items"][0]["version"], version, "{}", permits.text);
    let second = ["run", "s", "--semaphore", "--no-wait", "--", "true"];
    assert_eq!(exit_code(program(&client, &second)).await.0, Some(75));
    run.signal(Signal::TERM);
    assert_eq!(run.end().await, Some(128 + 15));
    assert_eq!(exit_code(program(&client, &second)).await.0, Some(0));
}

/// A command that begins, and ends after the next line of its input.
const TWO_STEPS: [&str; 3] = ["sh", "-c", "echo begun; read -r _; echo done"];

async fn begin_two_steps(urls: &str, client: &Client) -> Running {
    let arguments = [&["run", "k", "--lease", "15s", "--"], &TWO_STEPS[..]].concat();
    let mut command = program_at(urls, client.tenant(), &arguments);
    command.stdin(Stdio::piped());
    let mut run = Running::start(command);
    assert_eq!(run.line().await, "begun");
    run
}

/// Waits for a heartbeat of the command, and ends it.
async fn ends_after_a_heartbeat(mut run: Running, client: &Client) {
    let first_end = client.lock("k").await.body["expires_at"].clone();
    let renewed = async || (client.lock("k").await.body["expires_at"] != first_end).then_some(());
    eventually("the lease is renewed", SOON, renewed).await;
    run.input().write_all(b"\n").await.unwrap();
    assert_eq!(run.line().await, "done");
    assert_eq!(run.end().await, Some(0));
}

#[tokio::test]
async fn a_restart_of_the_service_goes_unnoticed() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let mut service = Service::start(&database.url).await;
    let client = service.client();
    let run = begin_two_steps(&format!("http://127.0.0.1:{}", client.port()), &client).await;
    service.signal("KILL");
    service.end(Duration::from_secs(5)).await;
    let address = format!("127.0.0.1:{}", client.port());
    let _again = Service::start_at(&database.url, &[("DB_LOCKS_LISTEN", &address)], client.port()).await;
    ends_after_a_heartbeat(run, &client).await;
}

#[tokio::test]
async fn another_replica_is_asked_when_one_is_gone() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let mut first = Service::start(&database.url).await;
    let second = Service::start(&database.url).await;
    let client = first.client();
    let urls = format!("http://127.0.0.1:{},http://127.0.0.1:{}/", first.port(), second.port());
    let run = begin_two_steps(&urls, &client).await;
    first.signal("KILL");
    ends_after_a_heartbeat(run, &client.at(second.port())).await;
}

/// An upgrade replaces the program while it waits.
#[tokio::test]
async fn a_program_whose_file_is_gone_still_starts_its_command() {
    let client = client().await;
    let held = client.hold("k").await;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let copy = folder.path().join("db-locks");
    std::fs::hard_link(PROGRAM, &copy).unwrap();
    let url = format!("http://127.0.0.1:{}", client.port());
    let arguments = ["run", "k", "--", "echo", "it runs"];
    let mut run = Running::start(as_client(Command::new(&copy), &url, client.tenant(), &arguments));
    client.until_waiters("/locks/k", 1).await;
    std::fs::remove_file(&copy).unwrap();
    client.release("k", &held.version).await.expect(200);
    assert_eq!(run.line().await, "it runs");
    assert_eq!(run.end().await, Some(0));
}
