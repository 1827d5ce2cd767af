//! The settings of a run: the command line, and the numbers that follow from it.

mod args;
mod choice;

use std::{path::PathBuf, time::Duration};

use anyhow::ensure;

pub(crate) use self::{
    args::Args,
    choice::{Peer, Work},
};

/// A run's settings, with everything that `--quick` changes resolved.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The kinds of work to do.
    pub(crate) work: Vec<Work>,
    /// The peers to compare.
    pub(crate) peers: Vec<Peer>,
    /// The numbers of connections for pairs on distinct keys.
    pub(crate) connections: Vec<usize>,
    /// The number of waiters for the hot key.
    pub(crate) waiters: Vec<usize>,
    /// The time for which each measurement counts.
    pub(crate) window: Duration,
    /// The warm-up of each measurement.
    pub(crate) warm_up: Duration,
    /// The number of rounds.
    pub(crate) rounds: usize,
    /// The rate at which pairs start; `None` starts the next pair when the last one is answered.
    pub(crate) rate: Option<u64>,
    /// The number of keys of each connection when keys are reused.
    pub(crate) keys_per_connection: u64,
    /// The number of rows of the filled table.
    pub(crate) rows: u64,
    /// The number of locks that are held while heartbeats are measured.
    pub(crate) heartbeat_locks: usize,
    /// Connections for heartbeats and for several replicas.
    pub(crate) fixed_connections: usize,
    /// The semaphore's permits.
    pub(crate) permits: usize,
    /// Clients of the semaphore.
    pub(crate) permit_clients: usize,
    /// Requests that wait idly.
    pub(crate) idle_waiters: usize,
    /// Keys that they wait for.
    pub(crate) idle_keys: usize,
    /// The time that they wait once all are queued.
    pub(crate) idle_wait: Duration,
    /// Waiters in each round of the check of order.
    pub(crate) order_waiters: usize,
    /// Rounds of the check of order.
    pub(crate) order_rounds: usize,
    /// Threads that drive the load.
    pub(crate) threads: usize,
    /// The service's binary.
    pub(crate) binary: PathBuf,
    /// The folder for the files of the servers.
    pub(crate) folder: PathBuf,
    /// The folder for the results.
    pub(crate) out: PathBuf,
}

impl Settings {
    /// Fills in the defaults of the command line.
    pub(crate) fn resolve(args: Args) -> anyhow::Result<Self> {
        ensure!(args.seconds.is_none_or(|seconds| seconds > 0.0), "--seconds must be above 0");
        ensure!(args.connections.iter().flatten().all(|&n| n > 0), "--connections must be above 0");
        let quick = args.quick;
        let pick = |full: usize, short: usize| if quick { short } else { full };
        let idle_waiters = args.idle_waiters.unwrap_or(pick(10_000, 500)).max(1);
        Ok(Self {
            work: args.work.unwrap_or_else(Work::all),
            peers: args.peers.unwrap_or_else(Peer::all),
            connections: args.connections.unwrap_or(if quick {
                vec![1, 32]
            } else {
                vec![1, 8, 32, 128, 512]
            }),
            waiters: args.waiters.unwrap_or(if quick { vec![2, 16] } else { vec![2, 64, 256] }),
            window: Duration::from_secs_f64(args.seconds.unwrap_or(if quick { 1.0 } else { 5.0 })),
            warm_up: Duration::from_millis(if quick { 300 } else { 1_000 }),
            rounds: args.rounds.unwrap_or(pick(3, 1)).max(1),
            rate: args.rate,
            keys_per_connection: args.keys_per_connection,
            rows: args.rows.unwrap_or(if quick { 10_000 } else { 1_000_000 }).max(1),
            heartbeat_locks: pick(10_000, 1_000),
            fixed_connections: pick(128, 32),
            permits: pick(100, 10),
            permit_clients: pick(300, 30),
            idle_waiters,
            idle_keys: (idle_waiters / 10).max(1),
            idle_wait: Duration::from_secs(args.idle_seconds.unwrap_or(if quick { 4 } else { 30 })),
            order_waiters: args.order_waiters.unwrap_or(pick(256, 32)),
            order_rounds: args.order_rounds.unwrap_or(pick(20, 2)),
            threads: args.threads.max(1),
            binary: args.binary.unwrap_or_else(beside_this_program),
            folder: args.folder.unwrap_or_else(std::env::temp_dir),
            out: args.out,
        })
    }
}

/// The path of `db-locks` of a release build, relative to this program: `target/release/db-locks`, also from a debug
/// build of this program.
fn beside_this_program() -> PathBuf {
    let here = std::env::current_exe().unwrap_or_default();
    let target = here.parent().and_then(std::path::Path::parent);
    target.map_or_else(|| PathBuf::from("target"), PathBuf::from).join("release/db-locks")
}
