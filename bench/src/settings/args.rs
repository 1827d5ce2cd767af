//! The command line.

use std::path::PathBuf;

use clap::Parser;

use super::{Peer, Work};

/// Drive db-locks and its peers with the same load, one after the other, and compare them.
///
/// Build the service first: `cargo build --release`. What is not installed is left out and named.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// What to do, by name or letter. Default: all.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) work: Option<Vec<Work>>,

    /// Whom to compare. Default: all.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) peers: Option<Vec<Peer>>,

    /// Numbers of connections for pairs on distinct keys [default: 1,8,32,128,512].
    #[arg(long, value_delimiter = ',')]
    pub(crate) connections: Option<Vec<usize>>,

    /// How many wait for the hot key [default: 2,64,256].
    #[arg(long, value_delimiter = ',')]
    pub(crate) waiters: Option<Vec<usize>>,

    /// Seconds that each measurement counts, after one of warm-up [default: 5].
    #[arg(long)]
    pub(crate) seconds: Option<f64>,

    /// How often everything is measured, in turn; the results are the medians [default: 3].
    #[arg(long)]
    pub(crate) rounds: Option<usize>,

    /// A short smoke run: few connections, one round of one second.
    #[arg(long)]
    pub(crate) quick: bool,

    /// Open loop for the pairs: start so many a second, and measure each from when it should have started.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) rate: Option<u64>,

    /// How many keys of its own each connection goes through where keys are reused.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keys_per_connection: u64,

    /// Rows of the filled table [default: 1000000].
    #[arg(long)]
    pub(crate) rows: Option<u64>,

    /// Requests that wait idly, ten to a key [default: 10000].
    #[arg(long)]
    pub(crate) idle_waiters: Option<usize>,

    /// Seconds that they wait [default: 30].
    #[arg(long)]
    pub(crate) idle_seconds: Option<u64>,

    /// Waiters in each round of the check of order [default: 256].
    #[arg(long)]
    pub(crate) order_waiters: Option<usize>,

    /// Rounds of the check of order [default: 20].
    #[arg(long)]
    pub(crate) order_rounds: Option<usize>,

    /// Threads that drive the load.
    #[arg(long, default_value_t = 2)]
    pub(crate) threads: usize,

    /// The service's binary [default: target/release/db-locks beside this program].
    #[arg(long)]
    pub(crate) binary: Option<PathBuf>,

    /// Where the servers keep their files: a real disk, since on a file system in memory nothing that is written is
    /// durable [default: the system's temporary folder].
    #[arg(long)]
    pub(crate) folder: Option<PathBuf>,

    /// Where `results.json`, `results.md` and `results.svg` go.
    #[arg(long, default_value = "bench-results")]
    pub(crate) out: PathBuf,
}
