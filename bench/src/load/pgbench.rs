//! The statements of bare `PostgreSQL`, run by `pgbench`: a check of the driver that this program uses for them.

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use tokio::process::Command;

use super::tally::percentiles;
use crate::{
    client::{POSTGRES_ACQUIRE, POSTGRES_RELEASE, Session},
    number::{count, float},
    report::{Findings, Measure},
    settings::Settings,
    site::Site,
};

/// Runs `pgbench` with this number of clients for as long as the other peers are measured.
pub(super) async fn measure(site: &Site, clients: usize, settings: &Settings) -> anyhow::Result<Findings> {
    let program = site.programs().pgbench().context("no pgbench")?;
    let keys = settings.keys_per_connection;
    let scratch = tempfile::tempdir_in(site.folder()).context("make a folder for pgbench")?;
    let script = scratch.path().join("pairs.sql");
    fs::write(&script, statements(keys)).context("write pgbench's script")?;
    prime(site, clients, keys).await?;

    // The clock of `pgbench` runs while it connects, which it does not count as work. It has no warm-up.
    let connecting = Duration::from_millis(10) * u32::try_from(clients)?;
    let seconds = (settings.window + settings.warm_up + connecting).as_secs_f64().ceil();
    let address = site.target().first();
    let mut command = Command::new(program);
    command
        .args(["-n", "-M", "prepared", "-U", "locks", "-h", &address.ip().to_string()])
        .args(["-p", &address.port().to_string(), "-T", &seconds.to_string()])
        .args(["-c", &clients.to_string(), "-j", &settings.threads.min(clients).to_string()])
        .args(["-l", "--log-prefix", "times", "-f"])
        .arg(&script)
        .arg("locks")
        .current_dir(scratch.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let (began, before) = (Instant::now(), site.usage());
    // In the middle of the run all connections are open.
    let middle = async {
        tokio::time::sleep(connecting + settings.window / 2).await;
        site.memory()
    };
    let (output, memory) = tokio::join!(command.output(), middle);
    let output = output.context("run pgbench")?;
    let (elapsed, usage) = (began.elapsed().as_secs_f64(), site.usage().since(before));
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
    let rate = tps(&said).context("pgbench did not say how fast it was")?;

    let mut findings = Findings::default();
    let times = times(scratch.path())?;
    findings.set(Measure::PerSecond, rate);
    findings.set(Measure::ServerCores, usage.engine / elapsed);
    findings.set(Measure::MemoryBytes, float(memory.all));
    findings.set(Measure::ServerCpuUs, usage.engine * 1e6 / float(count(times.len()).max(1)));
    percentiles(&mut findings, [Measure::P50Us, Measure::P99Us, Measure::P999Us], &times);
    findings.failures.add_times("failed transactions".into(), failed(&said));
    Ok(findings)
}

/// The script: a pair on one of the client's own keys. `\gset` fails where the acquire answers no row, that is where
/// the lock was not granted.
fn statements(keys: u64) -> String {
    let key = "('c' || :client_id::text || '-' || :number::text)";
    let acquire = POSTGRES_ACQUIRE.replace("$1", key).replace("$2", "'bench'").replace("$3", "600000");
    let release = POSTGRES_RELEASE.replace("$1", key).replace("$2", ":fencing_token");
    format!("\\set number random(0, {keys} - 1)\n{acquire} \\gset\n{release};\n")
}

/// Creates the keys, so that they are reused from the beginning, as for the other peers.
async fn prime(site: &Site, clients: usize, keys: u64) -> anyhow::Result<()> {
    let insert = format!(
        "INSERT INTO bare_locks SELECT 'c' || client || '-' || number, 'bench', 1, '-infinity'
         FROM generate_series(0, {clients} - 1) AS client, generate_series(0, {keys} - 1) AS number
         ON CONFLICT DO NOTHING"
    );
    let mut session = Session::connect(site.target().first(), "locks").await?;
    session.batch(&insert).await.context("create the keys")
}

/// Transactions per second, without the time for connecting.
fn tps(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.strip_prefix("tps = "))?;
    line.split(' ').next()?.parse().ok()
}

/// The number of failed transactions.
fn failed(said: &str) -> u64 {
    let line = said.lines().find_map(|line| line.strip_prefix("number of failed transactions: "));
    line.and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or_default()
}

/// The times of all transactions, in nanoseconds, from the files that the threads of `pgbench` wrote.
fn times(folder: &Path) -> anyhow::Result<Vec<u64>> {
    let mut times = Vec::new();
    for entry in fs::read_dir(folder).context("look for pgbench's times")? {
        let entry = entry.context("look for pgbench's times")?;
        if entry.file_name().to_string_lossy().starts_with("times.") {
            let text = fs::read_to_string(entry.path()).context("read pgbench's times")?;
            let microseconds = text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok());
            times.extend(microseconds.map(|time| time * 1_000));
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::{failed, statements, tps};

    #[test]
    fn the_script_has_no_parameters_left() {
        let script = statements(10);
        assert!(!script.contains('$'), "{script}");
        assert!(script.contains("random(0, 10 - 1)"), "{script}");
    }

    #[test]
    fn what_pgbench_says_is_read() {
        let said =
            "number of failed transactions: 3 (0.010%)\ntps = 2890.125 (without initial connection time)\n";
        assert_eq!((tps(said), failed(said)), (Some(2890.125), 3));
    }
}
