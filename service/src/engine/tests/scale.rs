//! The limits of the service where the database's commits take time: `docs/scale.md` has these figures.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Replica, deliver, memory_store::MemoryStore, options};
use crate::engine::EngineOptions;

/// The time during which pairs are counted.
const WINDOW: Duration = Duration::from_millis(400);

/// The result of a run.
#[derive(Debug)]
struct Figures {
    pairs_per_second: u64,
    commands_per_commit: u64,
}

/// Runs clients that acquire and release at replicas whose commits take `commit_ms`, each client on keys of its own.
async fn run(replicas: usize, clients: usize, commit_ms: u64) -> Figures {
    let store = Arc::new(MemoryStore::new());
    store.commit_ms.store(commit_ms, Ordering::Relaxed);
    let options = EngineOptions { max_queued: 100_000, memory_bytes: 16 << 20, ..options(1) };
    let replicas = (0..replicas).map(|_| Replica::with_options(&store, options)).collect::<Vec<_>>();
    let pairs = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for client in 0..clients {
        let (replica, pairs) = (replicas[client % replicas.len()].clone(), pairs.clone());
        tasks.push(tokio::spawn(async move {
            for number in 0.. {
                let key = format!("{client}-{}", number % 10);
                let version = deliver(replica.acquire(&key, 0).await.unwrap());
                replica.release(&key, version).await.unwrap();
                pairs.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    // By then each key has been used once.
    tokio::time::sleep(Duration::from_millis(commit_ms * 60)).await;
    let counts = || (pairs.load(Ordering::Relaxed), store.commits.load(Ordering::Relaxed));
    let before = counts();
    tokio::time::sleep(WINDOW).await;
    let after = counts();
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let (pairs, commits) = (after.0 - before.0, after.1 - before.1);
    Figures {
        pairs_per_second: pairs * 1_000 / u64::try_from(WINDOW.as_millis()).unwrap(),
        commands_per_commit: pairs * 2 / commits.max(1),
    }
}

/// A pair is two commits, and a command that arrives while commits are under way waits for one of them to end. So a
/// pair takes two to four commits, however many clients there are, until batches are full.
#[tokio::test(start_paused = true)]
async fn a_pair_takes_two_to_four_commits_however_many_clients_and_replicas_there_are() {
    for (replicas, clients, commit_ms) in
        [(1, 8, 1), (1, 64, 1), (1, 8, 5), (1, 64, 5), (1, 256, 5), (3, 192, 5), (10, 640, 5)]
    {
        let figures = run(replicas, clients, commit_ms).await;
        // A timer of a millisecond may take two.
        let most = clients as u64 * 1_000 / (2 * commit_ms);
        let least = clients as u64 * 1_000 / (4 * (commit_ms + 1));
        assert!((least..=most).contains(&figures.pairs_per_second), "{least} to {most}: {figures:?}");
        assert!(figures.commands_per_commit >= 1, "{figures:?}");
    }
}
