//! The metrics match the events.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

use super::on_every_database;
use crate::support::{
    Client, Database, Dialect, Fleet, SOON, Service, Times, eventually, expect, try_until_undisturbed,
};

on_every_database![with_database:
    metrics_count_what_happens,
    a_hand_over_takes_as_long_as_its_callers_measure,
    held_locks_are_counted_at_every_replica,
];

/// The sum of all series of a metric that have these labels.
async fn metric(svc: &Client, name: &str, labels: &[&str]) -> f64 {
    let text = svc.get("/metrics").await.expect(200).text;
    let is_it = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    };
    text.lines().filter(is_it).map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

async fn metrics_count_what_happens(database: Database) {
    let service = Service::start(&database.url).await;
    let svc = service.client();
    let total = async || {
        let metrics = svc.get("/metrics").await.expect(200).text;
        let counts = metrics.lines().filter(|line| !line.starts_with('#') && line.contains("acquire"));
        counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>()
    };
    svc.hold("before").await;
    let before = total().await;
    svc.hold("k").await;
    assert!(total().await > before, "an acquire leaves a trace");
}

/// Prometheus' own checks: names, types, help.
#[tokio::test]
async fn promtool_finds_nothing() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start(&database.url).await;
    let svc = service.client();
    svc.hold("k").await;
    svc.acquire("k", json!({"wait_ms": 0})).await.not_granted("no_wait");
    let text = svc.get("/metrics").await.expect(200).text;
    let check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut check = match check {
        Ok(check) => check,
        Err(error) => {
            let ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!ci, "with CI=true promtool (Debian's package prometheus) must be there: {error}");
            eprintln!("*** promtool IS LEFT OUT: {error} ***");
            return;
        }
    };
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.trim().is_empty(), "{said}\n{text}");
}

/// Hand-overs of one lock between two callers, measured by them. Returns their durations and the metric's mean, in seconds.
async fn measure_hand_overs(releasing: &Client, waiting: &Client, rounds: u32) -> (Times, f64) {
    const NAME: &str = "db_locks_handover_duration_seconds";
    let read = async || {
        (
            metric(waiting, &format!("{NAME}_sum"), &[]).await,
            metric(waiting, &format!("{NAME}_count"), &[]).await,
        )
    };
    let before = read().await;
    let ask = json!({"wait_ms": 20_000, "lease_duration_ms": 60_000});
    let mut times = Times::default();
    for _ in 0..rounds {
        let held = releasing.hold("k").await;
        let waiter = waiting.queue_up("k", ask.clone(), 1).await;
        let release = releasing.post_aside("/locks/k/release", json!({"version": held.version}));
        let begin = Instant::now();
        let granted = waiter.await.unwrap().grant();
        times.0.push(begin.elapsed());
        release.await.unwrap().unheld(200);
        waiting.release("k", &granted.version).await.unheld(200);
    }
    let after = read().await;
    let counted = after.1 - before.1;
    assert!((counted - f64::from(rounds)).abs() < 0.5, "{counted} of {rounds} hand-overs were counted");
    (times, (after.0 - before.0) / counted)
}

/// The measurements of callers include their own HTTP, which in a debug build on a busy machine takes as long as the
/// hand-over. A busy moment can last for several tries without a pause.
async fn a_hand_over_takes_as_long_as_its_callers_measure(database: Database) {
    let fleet = Fleet::start(database, 2).await;
    for waits_at in [0, 1] {
        let mut pause = Duration::ZERO;
        try_until_undisturbed(5, async || {
            tokio::time::sleep(std::mem::replace(&mut pause, Duration::from_secs(1))).await;
            let (mut theirs, ours) = measure_hand_overs(&fleet.at(0), &fleet.at(waits_at), 20).await;
            // A caller that is slow once raises the mean, but not the median.
            let (median, mean) = (theirs.median().as_secs_f64(), theirs.mean().as_secs_f64());
            expect(ours >= median / 4.0 && ours <= mean * 1.5, || {
                format!("at replica {waits_at}: callers {median:.6} s, mean {mean:.6} s, metric {ours:.6} s")
            })
        })
        .await;
    }
}

/// Every replica counts. A gauge of only one replica would keep its value when another one takes over sweeping.
async fn held_locks_are_counted_at_every_replica(database: Database) {
    let fleet = Fleet::start_with(database, 2, &[("DB_LOCKS_SWEEP_PERIOD_MS", "50")]).await;
    let [one, other] = [fleet.at(0), fleet.at(1)];
    let held = [one.hold("a").await, one.hold("b").await];
    one.put("/semaphores/s", json!({"max_size": 2})).await.expect(201);
    one.post("/semaphores/s/acquire", json!({"lease_duration_ms": 60_000})).await.grant();
    let show = async |locks: f64, permits: f64| {
        for svc in [&one, &other] {
            let shown = async || {
                let now = (
                    metric(svc, "db_locks_locks_held", &[]).await,
                    metric(svc, "db_locks_permits_held", &[]).await,
                );
                ((now.0 - locks).abs() < 0.5 && (now.1 - permits).abs() < 0.5).then_some(())
            };
            eventually(&format!("{locks} locks and {permits} permits are shown"), SOON, shown).await;
        }
    };
    show(2.0, 1.0).await;
    one.release("a", &held[0].version).await.unheld(200);
    show(1.0, 1.0).await;
}

#[tokio::test]
async fn contention_is_told_by_how_acquires_end() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start(&database.url).await;
    let svc = service.client();
    let held = svc.hold("k").await;
    svc.acquire("k", json!({"wait_ms": 0})).await.not_granted("no_wait");
    svc.acquire("k", json!({"wait_ms": 20})).await.not_granted("timed_out");
    let waiter = svc.queue_up("k", json!({}), 1).await;
    svc.release("k", &held.version).await.unheld(200);
    waiter.await.unwrap().grant();
    for outcome in ["granted_at_once", "granted_after_waiting", "refused_at_once", "timed_out"] {
        let counted = metric(&svc, "db_locks_acquires_total", &[outcome]).await;
        assert!((counted - 1.0).abs() < 0.1, "{outcome}: {counted}");
    }
}

#[tokio::test]
async fn a_lease_that_ended_without_release_is_counted() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start(&database.url).await;
    let svc = service.client();
    let expired = async || metric(&svc, "db_locks_leases_expired_total", &[]).await;
    let released = svc.hold("k").await;
    svc.release("k", &released.version).await.unheld(200);
    svc.acquire("k", json!({"lease_duration_ms": 20})).await.grant();
    svc.put("/semaphores/s", json!({"max_size": 1})).await.expect(201);
    svc.post("/semaphores/s/acquire", json!({"lease_duration_ms": 20})).await.grant();
    assert!(expired().await < 0.5, "a release is none");
    svc.acquire("k", json!({})).await.grant();
    svc.post("/semaphores/s/acquire", json!({})).await.grant();
    assert!((expired().await - 2.0).abs() < 0.1, "a lock and a permit: {}", expired().await);
}
