//! The proof: holders, the service and the database are stopped (SIGSTOP) at random, and no update of a guarded
//! transaction is lost. Without the guard updates are lost, so the test can fail.
//!
//! Workers are processes of their own: this test binary, run as `worker`. Each of their tasks takes a lock, reads the
//! lock's counter, and writes it one higher in a transaction. At the end each counter has to be the number of those
//! transactions that were committed. `DB_LOCKS_PROOF_ROUNDS` is the number of transactions to try; by default it is a
//! few seconds' worth.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;

use super::worker::Worker;
use crate::support::{
    Database, Dialect, Service,
    leash::{Launch, Leashed},
    server::OwnServer,
    sql,
};

/// The lease of each grant, in milliseconds.
const LEASE_MS: u64 = 300;
/// The number of worker processes.
const PROCESSES: usize = 4;
/// The number of tasks of each process.
const TASKS: usize = 6;
/// The largest number of runs until the expected effects must have been seen. MariaDB 11.8 checks snapshots and refuses
/// most transactions that would lose updates without the guard, so some short runs lose none.
const MOST_RUNS: usize = 20;
/// The longest time of a run, and the additional time for each transaction that is tried.
const LONGEST: Duration = Duration::from_mins(2);
const LONGEST_PER_ROUND: Duration = Duration::from_millis(500);

/// The size of a run.
fn rounds() -> u64 {
    std::env::var("DB_LOCKS_PROOF_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(120)
}

/// The number of counters: few enough to keep the locks busy in a short run.
fn keys() -> u64 {
    if rounds() < 1_000 { 4 } else { 50 }
}

#[tokio::test]
async fn no_update_is_lost_on_sqlite() {
    let database = Dialect::Sqlite.database().await.unwrap();
    prove(&database, None).await;
}

#[tokio::test]
async fn no_update_is_lost_on_postgres() {
    if let Some(mut server) = OwnServer::start(Dialect::Postgres).await {
        let database = server.database.clone();
        prove(&database, Some(&mut server)).await;
    }
}

#[tokio::test]
async fn no_update_is_lost_on_mariadb() {
    if let Some(mut server) = OwnServer::start(Dialect::MariaDb).await {
        let database = server.database.clone();
        prove(&database, Some(&mut server)).await;
    }
}

#[tokio::test]
async fn no_update_is_lost_on_mysql() {
    if let Some(mut server) = OwnServer::start(Dialect::MySql).await {
        let database = server.database.clone();
        prove(&database, Some(&mut server)).await;
    }
}

async fn prove(database: &Database, mut server: Option<&mut OwnServer>) {
    let refused = |outcome: &Outcome| outcome.refused > 0;
    let outcomes = until(database, server.as_deref_mut(), true, refused).await;
    assert!(outcomes.iter().all(|outcome| outcome.lost == 0), "{outcomes:?}");
    let sum = |count: fn(&Outcome) -> u64| outcomes.iter().map(count).sum::<u64>();
    assert!(sum(|outcome| outcome.committed) > sum(|outcome| outcome.tried) / 10, "{outcomes:?}");
    until(database, server, false, |outcome| outcome.lost > 0).await;
}

/// Repeats the run until the expected effects were seen: a short run may miss them by chance.
#[expect(clippy::print_stdout, reason = "the figures of a long run are recorded")]
async fn until(
    database: &Database,
    mut server: Option<&mut OwnServer>,
    guarded: bool,
    is_seen: impl Fn(&Outcome) -> bool,
) -> Vec<Outcome> {
    let with = if guarded { "with" } else { "without" };
    let mut outcomes = Vec::new();
    while !outcomes.iter().any(&is_seen) {
        assert!(outcomes.len() < MOST_RUNS, "{with} the guard nothing of the kind was seen: {outcomes:?}");
        let outcome = run(database, server.as_deref_mut(), guarded).await;
        println!("{:?} {with} the guard: {outcome:?}", database.dialect);
        outcomes.push(outcome);
    }
    outcomes
}

/// The outcome of a run.
#[derive(Debug, Default)]
struct Outcome {
    tried: u64,
    committed: u64,
    refused: u64,
    lost: i64,
    #[expect(dead_code, reason = "it is printed")]
    pauses: u64,
}

async fn run(database: &Database, mut server: Option<&mut OwnServer>, guarded: bool) -> Outcome {
    let mut service = Service::start(&database.url).await;
    let connection = sql::connect(&database.url).await.unwrap();
    Worker::create_counters(&connection, keys()).await;
    let folder = tempfile::tempdir().unwrap();
    let mut workers: Vec<_> = (0..PROCESSES)
        .map(|number| {
            start_worker(&folder.path().join(number.to_string()), database, service.port(), guarded)
        })
        .collect();
    let (mut pauses, begun) = (0, Instant::now());
    let longest = LONGEST + LONGEST_PER_ROUND * u32::try_from(rounds()).unwrap();
    while workers.iter_mut().any(|worker| worker.ended().is_none()) {
        assert!(begun.elapsed() < longest, "the workers do not end");
        tokio::time::sleep(Duration::from_millis(rand::random_range(5..120))).await;
        let pause = Duration::from_millis(rand::random_range(LEASE_MS / 5..LEASE_MS * 3 / 2));
        pauses += 1;
        match (rand::random_range(0..10), server.as_deref_mut()) {
            (0, Some(server)) => {
                server.signal("STOP");
                tokio::time::sleep(pause).await;
                server.signal("CONT");
            }
            (1, _) => {
                service.signal("STOP");
                tokio::time::sleep(pause).await;
                service.signal("CONT");
            }
            (_, _) => {
                let worker = &mut workers[rand::random_range(0..PROCESSES)];
                worker.signal("STOP");
                tokio::time::sleep(pause).await;
                worker.signal("CONT");
            }
        }
    }
    let mut outcome = Outcome { pauses, ..Outcome::default() };
    let mut committed = BTreeMap::new();
    for number in 0..PROCESSES {
        let log = std::fs::read_to_string(folder.path().join(number.to_string())).unwrap();
        let report = log
            .lines()
            .find_map(|line| line.split_once("worker report "))
            .unwrap_or_else(|| panic!("{log}"))
            .1;
        let report: WorkerReport = serde_json::from_str(report).unwrap();
        outcome.tried += report.tried;
        outcome.refused += report.refused;
        for (key, count) in report.committed {
            *committed.entry(key).or_insert(0) += count;
        }
    }
    for (key, count) in committed {
        outcome.committed += count;
        let query =
            format!("SELECT CAST(amount AS {}) FROM counter WHERE id = {key}", bigint(database.dialect));
        outcome.lost += i64::try_from(count).unwrap() - sql::number(&database.url, &query).await.unwrap();
    }
    outcome
}

const fn bigint(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::MariaDb | Dialect::MySql => "SIGNED",
        Dialect::Sqlite | Dialect::Postgres => "BIGINT",
    }
}

fn start_worker(log: &Path, database: &Database, port: u16, guarded: bool) -> Leashed {
    let program = std::env::current_exe().unwrap().display().to_string();
    let arguments = ["guards::proof::worker", "--exact", "--ignored", "--nocapture"].map(str::to_owned);
    let env = [
        ("PROOF_URL", database.url.clone()),
        ("PROOF_PORT", port.to_string()),
        ("PROOF_GUARDED", guarded.to_string()),
        ("PROOF_ROUNDS", (rounds() / (PROCESSES * TASKS) as u64).max(1).to_string()),
        ("PROOF_KEYS", keys().to_string()),
    ];
    Leashed::start(&Launch {
        command: std::iter::once(program).chain(arguments).collect(),
        env: env.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        signal: "KILL",
        folder: None,
        log,
    })
}

/// The figures that a worker prints at its end.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct WorkerReport {
    tried: u64,
    refused: u64,
    committed: BTreeMap<u64, u64>,
}

/// Not a test: a process of workers, started by the tests above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it is a part of the tests beside it"]
#[expect(clippy::print_stdout, reason = "the test that started it reads the figures")]
async fn worker() {
    let setting = |name: &str| std::env::var(name).unwrap();
    let number = |name: &str| setting(name).parse::<u64>().unwrap();
    let guarded = setting("PROOF_GUARDED") == "true";
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let (url, port) = (setting("PROOF_URL"), u16::try_from(number("PROOF_PORT")).unwrap());
        let (rounds, keys) = (number("PROOF_ROUNDS"), number("PROOF_KEYS"));
        tasks.push(tokio::spawn(async move {
            let mut worker = Worker::connect(&url, port, guarded).await;
            let mut report = WorkerReport::default();
            for _ in 0..rounds {
                let key = rand::random_range(0..keys);
                report.tried += 1;
                match worker.count_up(key, LEASE_MS).await {
                    Some(true) => *report.committed.entry(key).or_default() += 1,
                    Some(false) => report.refused += 1,
                    None => {}
                }
            }
            report
        }));
    }
    let mut all = WorkerReport::default();
    for task in tasks {
        let report = task.await.unwrap();
        all.tried += report.tried;
        all.refused += report.refused;
        for (key, count) in report.committed {
            *all.committed.entry(key).or_default() += count;
        }
    }
    println!("worker report {}", json!(all));
}
