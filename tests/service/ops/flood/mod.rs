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

use sea_orm::ConnectionTrait;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::{Client, Times, expect, sql, wire::Kept};

/// The largest number of queued acquires. The database writes once in about [`LOCKED`] or less: some hundred acquires
/// per second, while 1,300 are asked for.
const MAX_QUEUED: &str = "6";

/// The time for which another program keeps the lock of the database, again and again.
const LOCKED: Duration = Duration::from_millis(25);

/// The time within which heartbeats and releases are answered.
const IN_TIME: Duration = Duration::from_millis(250);

/// The most floods of a test.
const FLOODS: u32 = 5;

/// Another program that writes to the same file, and so slows each commit down. It has a thread of its own, so that the
/// flood does not slow it down.
struct SlowDown {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Duration>>,
}

impl SlowDown {
    fn start(url: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = tokio::task::spawn_blocking({
            let stop = stop.clone();
            move || lock_again_and_again(&url, &stop)
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends it. Returns the longest time for which it kept the lock.
    async fn end(mut self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().await.unwrap()
    }
}

/// The runtime of a test waits for the thread, also if the flood failed.
impl Drop for SlowDown {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn lock_again_and_again(url: &str, stop: &AtomicBool) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = sql::connect(url).await.unwrap();
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
}

/// A holder that renews its lock until `until` and then releases it. Returns the durations of the requests. All of them
/// have to succeed.
async fn keep(svc: Client, number: usize, version: String, until: Instant) -> Result<Times, String> {
    let mut connection = Kept::connect(&svc).await;
    let path = |action: &str| format!("/locks/held-{number}/{action}");
    let version = json!({"version": version});
    let mut times = Times::default();
    let mut post = async |action: &str| {
        let asked = Instant::now();
        let answer = connection.post(&svc, &path(action), &version).await;
        times.0.push(asked.elapsed());
        expect(answer.status == 200, || format!("{action} {number}: {}", answer.text))
    };
    while Instant::now() < until {
        post("heartbeat").await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    post("release").await?;
    Ok(times)
}

/// Measures acquires, all of which have to be granted.
async fn acquires(svc: &Client, name: &str) -> Result<Times, String> {
    let mut times = Times::default();
    for number in 0..20 {
        let asked = Instant::now();
        let answer = svc.acquire(&format!("{name}-{number}"), json!({"wait_ms": 0})).await;
        times.0.push(asked.elapsed());
        expect(answer.status == 200, || format!("acquire {name}-{number}: {}", answer.text))?;
    }
    Ok(times)
}

async fn resident_bytes(svc: &Client) -> f64 {
    let text = svc.get("/metrics").await.expect(200).text;
    let line = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    line.unwrap().parse().unwrap()
}
