//! Logs and metrics: where they go and in which form.

use std::{io::IsTerminal, str::FromStr, time::Duration};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::cli::{LogArgs, LogFormat};

/// Upper bounds of durations in seconds: from a cheap answer to the longest wait. By default an acquire waits 15 s, and at
/// most 10 min; one that waited in vain comes a little after that, and so into the next bucket.
const SECONDS: [f64; 22] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0,
    20.0, 30.0, 60.0, 120.0, 300.0, 660.0,
];

/// Upper bounds of batch sizes.
const SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// The pause between two rounds of the recorder's upkeep, without which histograms grow for ever.
const UPKEEP: Duration = Duration::from_secs(5);

/// What is logged of others only as a warning, whatever the filter says: notices of PostgreSQL about what exists already.
const QUIET: &str = "sqlx::postgres::notice=warn";

/// What `--log` says: a level, or directives such as `info,db_locks=debug`.
#[derive(Debug, Clone)]
pub(crate) struct LogFilter(String);

impl FromStr for LogFilter {
    type Err = String;

    /// Takes only what means what it seems to. A word that is no level would be a target that nothing logs to, and the log
    /// would be silent.
    fn from_str(text: &str) -> Result<Self, String> {
        let directives = text.split(',').map(str::trim).filter(|directive| !directive.is_empty());
        let directives = directives.map(read_directive).collect::<Result<Vec<_>, _>>()?;
        if directives.is_empty() {
            return Err(format!("it names no level; levels are {LEVELS}"));
        }
        let text = directives.join(",");
        EnvFilter::try_new(&text).map_err(|error| error.to_string())?;
        Ok(Self(text))
    }
}

const LEVELS: &str = "off, error, warn, info, debug, trace";

/// A level, or a target and its level.
fn read_directive(directive: &str) -> Result<String, String> {
    let (target, level) = match directive.split_once('=') {
        Some((target, level)) => (Some(target.trim()), level.trim()),
        None => (None, directive),
    };
    if level.parse::<LevelFilter>().is_err() {
        return Err(format!("'{level}' is not a level; levels are {LEVELS}"));
    }
    let Some(target) = target else { return Ok(level.to_owned()) };
    let is_name = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if !target.split("::").all(is_name) {
        return Err(format!(
            "'{target}' is not a target; a target is a module's path, such as db_locks_service::store"
        ));
    }
    Ok(format!("{target}={level}"))
}

/// Begins to log, to standard error.
pub(crate) fn log(args: &LogArgs) {
    let filter = EnvFilter::new(format!("{QUIET},{}", args.filter.0));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match args.format {
        LogFormat::Text => registry.with(layer.with_ansi(std::io::stderr().is_terminal())).init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
}

/// The metrics of this process.
pub(crate) struct Metrics {
    recorded: PrometheusHandle,
    process: metrics_process::Collector,
}

impl Metrics {
    /// All metrics in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        self.process.collect();
        self.recorded.render()
    }
}

/// Installs the metrics' recorder and keeps it up.
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
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    Ok(Metrics { recorded: handle, process })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_with_levels_are_understood() {
        for filter in [
            "debug",
            "INFO",
            "0",
            "info,db_locks=debug",
            " warn , sqlx::query = off ,",
            "db_locks_api::server=5",
        ] {
            assert!(filter.parse::<LogFilter>().is_ok(), "{filter}");
        }
    }

    /// Guards against a log that is silent because of a slip.
    #[test]
    fn what_is_no_level_is_refused_by_its_name() {
        for (filter, named) in [
            ("debg", "'debg'"),
            ("db_locks", "'db_locks'"),
            ("info,db_locks=debg", "'debg'"),
            ("info;db_locks=debug", "'info;db_locks'"),
            ("db-locks=debug", "'db-locks'"),
            ("db_locks:debug", "'db_locks:debug'"),
            ("=debug", "''"),
            ("info db_locks=debug", "'info db_locks'"),
            (",", "no level"),
        ] {
            let refusal = filter.parse::<LogFilter>().err().unwrap_or_default();
            assert!(refusal.contains(named), "{filter}: {refusal}");
        }
    }
}
