//! `db-locks run` while the service's database fails.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::process::ChildStdin;

use super::proxy::Proxy;
use crate::{
    commands::process::{Running, is_alive, program},
    support::{Client, Database, SOON, Service, TRIES, eventually, expect, sql, try_until_undisturbed},
};

on_every_server![
    a_database_that_fails_over_costs_the_command_nothing,
    a_database_that_stays_away_or_says_nothing_ends_the_command_before_its_lease,
    a_failover_that_lost_the_grant_ends_the_command,
];

const LEASE: Duration = Duration::from_secs(4);
/// Long enough that several renewals may fail on a busy machine.
const LONG_LEASE: Duration = Duration::from_secs(8);
const OUTAGE: Duration = Duration::from_secs(1);
/// Over before the service has noticed that its connections are dead, and has new ones.
const SHORT_LEASE: Duration = Duration::from_millis(1_500);

/// Starts a command that ends with its standard input. Returns its process id too.
async fn start(client: &Client, lease: Duration) -> (Running, ChildStdin, i32) {
    let lease = format!("{}ms", lease.as_millis());
    let arguments = ["run", "k", "--lease", &lease, "--", "sh", "-c", "echo $$; cat; echo done"];
    let mut command = program(client, &arguments);
    command.stdin(Stdio::piped());
    let mut run = Running::start(command);
    let process = run.process_ids().await[0];
    let input = run.input();
    (run, input, process)
}

/// Guards invariant 4 for the command: a holder that renews in time keeps its lock through the failover.
async fn a_database_that_fails_over_costs_the_command_nothing(database: Database) {
    let proxy = Proxy::before(&database).await;
    let service = Service::start(&database.through_port(proxy.port())).await;
    let client = service.client();
    let (mut run, input, _) = start(&client, LONG_LEASE).await;
    let granted = client.lock("k").await.grant();
    for (failure, lasts) in [(Proxy::take_away as fn(&Proxy), OUTAGE), (Proxy::cut_all, Duration::ZERO)] {
        let before = client.lock("k").await.grant().body["expires_at"].clone();
        failure(&proxy);
        tokio::time::sleep(lasts).await;
        proxy.bring_back();
        let renewed = async || {
            let answer = client.get("/locks/k").await;
            (answer.status == 200 && answer.body["expires_at"] != before).then_some(answer)
        };
        let lock = eventually("the lock is renewed", LONG_LEASE, renewed).await;
        assert_eq!(lock.body["version"], granted.version);
    }
    drop(input);
    assert_eq!(run.line().await, "done");
    assert_eq!(run.end().await, Some(0));
    client.lock("k").await.unheld(200);
}

/// Guards invariant 1 for the command: it has ended before another caller is granted the lock.
async fn a_database_that_stays_away_or_says_nothing_ends_the_command_before_its_lease(database: Database) {
    let proxy = Proxy::before(&database).await;
    let other = Service::start(&database.url).await;
    for failure in [Proxy::freeze as fn(&Proxy), Proxy::take_away] {
        // The margin of a short lease is a few milliseconds.
        try_until_undisturbed(TRIES, async || {
            proxy.bring_back();
            let service = Service::start(&database.through_port(proxy.port())).await;
            let client = service.client();
            let (mut run, _input, process) = start(&client, SHORT_LEASE).await;
            let there = client.at(other.port());
            failure(&proxy);
            let failed = Instant::now();
            let lease_ended = async || {
                let locked = there.lock("k").await.body["locked"] == true;
                // Checked after the lock: a process that runs now also ran when the lease had ended.
                let runs = is_alive(process);
                (!locked || failed.elapsed() > LEASE).then_some((locked, runs))
            };
            let (locked, runs_on) = eventually("the lease ends", SOON, lease_ended).await;
            expect(!locked, || "the service had new connections before the end of the lease".to_owned())?;
            expect(!runs_on, || "the lease has ended, and the command runs".to_owned())?;
            assert_eq!(run.end().await, Some(76));
            Ok(())
        })
        .await;
    }
}

/// The promoted standby lacks the last commits, so another caller may hold the lock there.
async fn a_failover_that_lost_the_grant_ends_the_command(database: Database) {
    let proxy = Proxy::before(&database).await;
    let service = Service::start(&database.through_port(proxy.port())).await;
    let (mut run, _input, _) = start(&service.client(), LEASE).await;
    proxy.take_away();
    sql::execute(&database.url, "DELETE FROM locks").await.unwrap();
    proxy.bring_back();
    assert_eq!(run.end().await, Some(76));
}
