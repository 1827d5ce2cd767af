//! Floods: heartbeats and releases while many connections send requests without end.

mod http1;
mod http2;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sea_orm::ConnectionTrait;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::{Client, sql, wire::Kept};

/// The largest number of queued acquires. The database writes once in about [`LOCKED`] or less: some hundred acquires
/// per second, while 1,300 are asked for.
const MAX_QUEUED: &str = "6";

/// The time for which another program keeps the lock of the database, again and again.
const LOCKED: Duration = Duration::from_millis(25);

/// The time within which heartbeats and releases are answered.
const IN_TIME: Duration = Duration::from_millis(250);

/// The most floods of a test.
const FLOODS: u32 = 5;

/// Floods until one of them shows nothing wrong. Other programs, or a disk that stalls for a second, spoil one flood. A fault of the service
/// spoils each.
async fn flood_until_undisturbed(mut flood: impl AsyncFnMut() -> Result<(), String>) {
    let mut spoiled = Vec::new();
    for _ in 0..FLOODS {
        match flood().await {
            Ok(()) => return,
            Err(fault) => spoiled.push(fault),
        }
    }
    panic!("each of the floods: {spoiled:#?}");
}

/// Something that a flood has to show.
fn expect(is_so: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(fault()) }
}

/// The durations of requests.
#[derive(Debug, Default)]
struct Times(Vec<Duration>);

impl Times {
    fn percentile(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        self.0.get(self.0.len() * percent / 100).copied().unwrap_or_default()
    }
}

/// Slows each commit down, like another program that writes to the same file. It has a thread of its own, so that the
/// flood does not slow it down. Returns the longest time for which it kept the lock.
fn slow_down(url: String, stop: Arc<AtomicBool>) -> JoinHandle<Duration> {
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let connection = sql::connect(&url).await.unwrap();
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                if connection.execute_unprepared("BEGIN IMMEDIATE").await.is_ok() {
                    let locked = Instant::now();
                    tokio::time::sleep(LOCKED).await;
                    connection.execute_unprepared("ROLLBACK").await.unwrap();
                    longest = longest.max(locked.elapsed());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            longest
        })
    })
}

/// A holder that renews its lock until `until` and then releases it. Returns the durations of the requests.
async fn keep(svc: Client, number: usize, version: String, until: Instant) -> Times {
    let mut connection = Kept::connect(&svc).await;
    let path = |action: &str| format!("/locks/held-{number}/{action}");
    let version = json!({"version": version});
    let mut times = Times::default();
    while Instant::now() < until {
        let asked = Instant::now();
        connection.post(&svc, &path("heartbeat"), &version).await.expect(200);
        times.0.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let asked = Instant::now();
    connection.post(&svc, &path("release"), &version).await.expect(200);
    times.0.push(asked.elapsed());
    times
}

/// Measures acquires that are all granted.
async fn acquires(svc: &Client, name: &str) -> Times {
    let mut times = Times::default();
    for number in 0..20 {
        let asked = Instant::now();
        svc.acquire(&format!("{name}-{number}"), json!({"wait_ms": 0})).await.grant();
        times.0.push(asked.elapsed());
    }
    times
}

async fn resident_bytes(svc: &Client) -> f64 {
    let text = svc.get("/metrics").await.expect(200).text;
    let line = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    line.unwrap().parse().unwrap()
}

/// Raises the limit of open files of this process. `false` if it stays too low for the flood.
fn may_open_files(connections: usize) -> bool {
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: now.maximum, maximum: now.maximum };
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.is_none_or(|limit| limit >= connections as u64 + 500)
}
