//! Logs and metrics: their outputs and formats.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use db_locks_service::{escape_terminal_controls, spawn_critical};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::cli::{LogArgs, LogFormat};

/// Upper bounds of durations in seconds, from a cheap answer to the longest wait. An acquire waits 15 s by default, and
/// 10 min at most. An acquire that was not granted takes a little longer than that, so it is in the next bucket.
const SECONDS: [f64; 22] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0,
    20.0, 30.0, 60.0, 120.0, 300.0, 660.0,
];

/// Upper bounds of batch sizes.
const SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// The pause between two rounds of the recorder's upkeep, without which histograms grow without end.
const UPKEEP: Duration = Duration::from_secs(5);

/// Libraries that log less than the filter says, unless it names them: notices of PostgreSQL about existing objects, and what clients
/// can cause as often as they like.
const QUIET: &str = "sqlx::postgres::notice=warn,h2=error,hyper=error,rustls=error";

/// Starts logging to standard error.
pub(crate) fn log(args: &LogArgs) {
    let filter = EnvFilter::new(format!("{QUIET},{}", args.filter));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(|| Lines(io::stderr()));
    match args.format {
        LogFormat::Text => registry.with(layer.with_ansi(io::stderr().is_terminal())).init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
}

/// A line of the log, which is written as a whole. It may contain owners and keys of callers; characters below U+0020 in them are
/// escaped already.
struct Lines<W>(W);

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(escape_terminal_controls(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The metrics of this process.
pub(crate) struct Metrics {
    recorded: PrometheusHandle,
    process: metrics_process::Collector,
}

impl Metrics {
    /// Renders all metrics in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        self.process.collect();
        self.recorded.render()
    }
}

/// Installs the metrics' recorder and runs its upkeep.
pub(crate) fn metrics() -> Result<Metrics, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full("db_locks_batch_size".to_owned()), &SIZES)?
        .install_recorder()?;
    metrics::describe_gauge!("db_locks_build_info", "Always 1; the version is a label");
    metrics::gauge!("db_locks_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let process = metrics_process::Collector::default();
    process.describe();
    let upkeep = handle.clone();
    spawn_critical(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    Ok(Metrics { recorded: handle, process })
}
