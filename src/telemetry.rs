//! Logs and metrics: their outputs and formats.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal, Write},
    panic::{self, PanicHookInfo},
    thread,
    time::Duration,
};

use db_locks_service::{
    before_abort, escape_terminal_controls, spawn_critical, spawn_critical_thread, write_to_stderr,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    cli::{LogArgs, LogFormat},
    log_queue::LogQueue,
};

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

/// How long the end of the service waits until the last lines of the log are written.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// The log of the service.
static QUEUE: LogQueue = LogQueue::new();

/// Starts logging to standard error, for commands other than the service. A line is written by the thread that logs it.
pub(crate) fn log(args: &LogArgs) {
    subscribe(args, io::stderr);
}

/// Starts logging to standard error, for the service. A thread writes the lines, so that a reader that takes them slowly, or
/// no longer, delays no request.
pub(crate) fn log_of_service(args: &LogArgs) -> io::Result<LastLines> {
    spawn_critical_thread("db-locks log", || {
        QUEUE.write_without_end(write_to_stderr, |lost| tracing::error!(lost, "lines of the log were lost"));
    })?;
    before_abort(flush);
    panic::set_hook(Box::new(log_panic));
    subscribe(args, || &QUEUE);
    Ok(LastLines)
}

/// Writes the last lines of the service's log when it is dropped.
#[must_use]
pub(crate) struct LastLines;

impl Drop for LastLines {
    fn drop(&mut self) {
        flush();
    }
}

/// Waits until the lines so far are written, if the reader takes them soon.
fn flush() {
    QUEUE.flush(FLUSH_WITHIN);
}

/// Logs a panic as the standard library prints it, whatever the log's filter is.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    let backtrace = Backtrace::capture();
    let is_captured = backtrace.status() == BacktraceStatus::Captured;
    let backtrace = if is_captured { format!("{backtrace}\n") } else { String::new() };
    let text = format!("\nthread '{name}' {panic}\n{backtrace}");
    // The queue takes the line or counts it as lost.
    let _ = Lines(&QUEUE).write_all(text.as_bytes());
}

fn subscribe<W: Write + 'static>(args: &LogArgs, output: impl Fn() -> W + Send + Sync + 'static) {
    let filter = EnvFilter::new(format!("{QUIET},{}", args.filter));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(move || Lines(output()));
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    #[ignore = "it ends its process: another test runs it in one of its own"]
    fn a_service_panics() {
        let args = LogArgs { filter: "info".parse().unwrap(), format: LogFormat::Text };
        let _last_lines = log_of_service(&args).unwrap();
        spawn_critical_thread("panics", || panic!("an error in this program")).unwrap();
        thread::sleep(Duration::from_secs(10));
    }

    /// Guards that the cause of the end is known, although a thread writes the log.
    #[test]
    fn a_panic_that_ends_the_service_is_logged() {
        let this = std::env::current_exe().unwrap();
        let name = "telemetry::tests::a_service_panics";
        let output = Command::new(this).args(["--ignored", "--exact", "--nocapture", name]).output().unwrap();
        assert_eq!(output.status.code(), None, "it is aborted: {output:?}");
        let log = String::from_utf8(output.stderr).unwrap();
        let line = log.find("thread 'panics' panicked at src/telemetry.rs").unwrap();
        assert!(log[line..].contains("an error in this program\n"), "{log}");
        assert!(log[line..].contains("a critical task has panicked; the process ends"), "{log}");
    }
}
