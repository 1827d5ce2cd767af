//! `db-locks run` ends its command before the end of the lease, whatever happens to the service or to `run` itself.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::process::{Running, is_alive, program};
use crate::support::{Client, Dialect, Service, eventually, service::shared};

/// First of all sends a signal to `run`. Ignores SIGTERM, in a child too, and prints the process ids of both.
const STUBBORN: &str = "kill -$0 $PPID; trap '' TERM; sleep 60 & echo $$ $!; while :; do sleep 60; done";
/// With this lease SIGKILL comes more than a second before its end, so a busy machine does not fail a test.
const LEASE: &str = "8s";
const SOON: Duration = Duration::from_secs(30);
/// The signal that only checks whether a process exists.
const NONE: &str = "0";

/// The earliest signal is the hardest: `run` has just started the command.
async fn start_stubborn(client: &Client, first_signal: &str) -> (Running, Vec<i32>) {
    let arguments = ["run", "k", "--lease", LEASE, "--", "sh", "-c", STUBBORN, first_signal];
    let mut run = Running::start(program(client, &arguments));
    let processes = run.process_ids().await;
    assert!(processes.iter().all(|process| is_alive(*process)));
    (run, processes)
}

/// Waits for the end of the lease. No process of the command may run by then.
async fn no_process_outlives_the_lease(client: &Client, processes: &[i32]) {
    let ended = async || {
        let locked = client.lock("k").await.body["locked"] == true;
        // Checked after the lock: a process that runs now also ran when the lease had ended.
        let alive = processes.iter().any(|process| is_alive(*process));
        assert!(locked || !alive, "the lease has ended, and the command runs");
        (!locked).then_some(())
    };
    eventually("the lease ends", SOON, ended).await;
}

/// Guards invariant 1 for the command: two holders never run at once.
#[tokio::test]
async fn a_paused_run_does_not_leave_its_command_behind() {
    let client = shared(Dialect::Sqlite).await.unwrap();
    let (mut run, processes) = start_stubborn(&client, "STOP").await;
    no_process_outlives_the_lease(&client, &processes).await;
    run.signal(Signal::CONT);
    assert_eq!(run.end().await, Some(76));
}

#[tokio::test]
async fn a_killed_run_does_not_leave_its_command_behind_and_the_next_one_runs() {
    let client = shared(Dialect::Sqlite).await.unwrap();
    let (mut run, processes) = start_stubborn(&client, "KILL").await;
    assert_eq!(run.end().await, None);
    let mut next = Running::start(program(&client, &["run", "k", "--", "echo", "it runs"]));
    assert_eq!(next.line().await, "it runs");
    assert!(!processes.iter().any(|process| is_alive(*process)), "two commands run at once");
    assert_eq!(next.end().await, Some(0));
}

#[tokio::test]
async fn a_dead_service_ends_the_command_before_the_lease() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let mut service = Service::start(&database.url).await;
    let other = Service::start(&database.url).await;
    let client = service.client();
    let (mut run, processes) = start_stubborn(&client, NONE).await;
    service.signal("STOP");
    no_process_outlives_the_lease(&client.at(other.port()), &processes).await;
    assert_eq!(run.end().await, Some(76));
    service.signal("CONT");
}

/// SIGTERM comes early enough for a command to clean up.
#[tokio::test]
async fn a_command_may_clean_up_before_it_is_killed() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let mut service = Service::start(&database.url).await;
    let client = service.client();
    let script = "trap 'echo cleaned up; exit 0' TERM; echo ready; while :; do sleep 0.02; done";
    let arguments = ["run", "k", "--lease", LEASE, "--", "sh", "-c", script];
    let mut run = Running::start(program(&client, &arguments));
    assert_eq!(run.line().await, "ready");
    service.signal("KILL");
    assert_eq!(run.line().await, "cleaned up");
    assert_eq!(run.end().await, Some(76));
}

#[tokio::test]
async fn a_grant_that_was_taken_away_ends_the_command() {
    let client = shared(Dialect::Sqlite).await.unwrap();
    let script = "echo $DB_LOCKS_VERSION; while :; do sleep 0.02; done";
    let arguments = ["run", "k", "--lease", LEASE, "--", "sh", "-c", script];
    let mut run = Running::start(program(&client, &arguments));
    let version = run.line().await;
    client.post("/locks/k/release", json!({"version": version})).await.expect(200);
    assert_eq!(run.end().await, Some(76));
}
