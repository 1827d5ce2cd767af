//! The cost of requests that wait and are not granted: memory, and statements of the database.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout_at},
};

use super::lane::Lane;
use crate::{
    client::{Ask, Dialer, Failure, Failures, Http},
    number::{count, float, unique},
    report::{Findings, Measure},
    settings::{Peer, Settings},
    site::Site,
};

/// The longest time for queueing: a thousand requests arrive per second.
const QUEUEING: Duration = Duration::from_secs(30);

/// The time after its end in which a wait may be answered.
const GIVING_UP: Duration = Duration::from_secs(40);

/// The longest pause between the queueing and the count of statements: `PostgreSQL` adds up the work of a session only
/// when it does something more, or ten seconds later.
const SETTLING: Duration = Duration::from_secs(11);

/// Makes this number of requests wait for held keys, measures the server meanwhile, and waits until they give up.
pub(super) async fn measure(
    site: &Site,
    peer: Peer,
    waiters: usize,
    keys: usize,
    settings: &Settings,
) -> anyhow::Result<Findings> {
    let prefix = format!("idle-{}-", unique());
    let mut findings = Findings::default();
    hold(site, peer, &prefix, keys).await?;
    let before = site.memory();

    let wait_ms = u64::try_from((QUEUEING + settings.idle_wait).as_millis())?;
    let dialer = Dialer { peer, target: site.target().clone(), ask: Ask { wait_ms, ..Ask::once() } };
    let began = Instant::now();
    let tasks = queue(dialer, waiters, &prefix, keys).await;
    // Connects only now: the service closes a connection that sends nothing for 10 s.
    let mut http = Http::connect(site.target().first()).await?;
    while queued(&mut http, &prefix).await? < count(waiters) {
        ensure!(began.elapsed() < QUEUEING, "the waiters were not queued in {} s", QUEUEING.as_secs());
        sleep(Duration::from_millis(100)).await;
    }
    findings.set(Measure::QueuedSeconds, began.elapsed().as_secs_f64());

    sleep(SETTLING.min(settings.idle_wait / 3)).await;
    watch(site, &mut http, &mut findings, settings.idle_wait / 2).await?;
    let after = site.memory();
    let grown = float(after.service.saturating_sub(before.service));
    findings.set(Measure::BytesPerWaiter, grown / float(count(waiters)));
    findings.set(Measure::ServiceBytes, float(after.service));
    findings.set(Measure::MemoryBytes, float(after.all));
    let last = began + QUEUEING + settings.idle_wait + GIVING_UP;
    findings.failures.merge(give_up(tasks, last).await);
    Ok(findings)
}

/// Sends the requests, a thousand per second. If they were sent at once, the service's TCP keepalive would later probe
/// all of them at once. The loopback device drops packets beyond a thousand, so the service would take connected
/// clients for gone.
async fn queue(dialer: Dialer, waiters: usize, prefix: &str, keys: usize) -> JoinSet<Option<Failure>> {
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    let mut tasks = JoinSet::new();
    for number in 0..waiters {
        pace.tick().await;
        let (dialer, key) = (dialer.clone(), format!("{prefix}{}", number % keys));
        tasks.spawn(async move {
            match dialer.dial(number).await {
                Ok(mut client) => client.acquire(&key).await.err(),
                Err(failure) => Some(failure),
            }
        });
    }
    tasks
}

/// Acquires the keys, for longer than any request waits.
async fn hold(site: &Site, peer: Peer, prefix: &str, keys: usize) -> anyhow::Result<()> {
    let lanes = 32.min(keys);
    let dialer = Dialer { peer, target: site.target().clone(), ask: Ask::once() };
    let mut tasks = JoinSet::new();
    for mut lane in Lane::dial(dialer, lanes).await? {
        let prefix = prefix.to_owned();
        tasks.spawn(async move {
            for number in (lane.index..keys).step_by(lanes) {
                lane.client.acquire(&format!("{prefix}{number}")).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended?.context("hold the keys")?;
    }
    Ok(())
}

/// The number of requests that wait for keys with this prefix, as the service lists them.
async fn queued(http: &mut Http, prefix: &str) -> anyhow::Result<u64> {
    let mut waiters = 0;
    let mut cursor = String::new();
    loop {
        let path = format!("/locks?prefix={prefix}&limit=1000{cursor}");
        let (status, body) = http.call("GET", &path, "").await?;
        ensure!(status == 200, "the list of locks answered {status}");
        let page: Value = serde_json::from_str(&body).context("read the list of locks")?;
        let items = page["items"].as_array().context("a list of locks without items")?;
        waiters += items.iter().filter_map(|lock| lock["waiters"].as_u64()).sum::<u64>();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(waiters),
        }
    }
}

/// Counts the statements of the database for this time: by the count of the database, and by that of the service.
async fn watch(site: &Site, http: &mut Http, findings: &mut Findings, time: Duration) -> anyhow::Result<()> {
    // A server may count the question too. Two questions in a row show how much that is.
    let asked_once = site.statements().await?;
    let (began, usage) = (Instant::now(), site.usage());
    let (statements, trips) = (site.statements().await?, round_trips(http).await?);
    sleep(time).await;
    let seconds = began.elapsed().as_secs_f64();
    if let (Some(once), Some(before), Some(after)) = (asked_once, statements, site.statements().await?) {
        let counted = after.saturating_sub(before).saturating_sub(before.saturating_sub(once));
        findings.set(Measure::StatementsPerSecond, float(counted) / seconds);
    }
    if let (Some(before), Some(after)) = (trips, round_trips(http).await?) {
        findings.set(Measure::RoundTripsPerSecond, (after - before) / seconds);
    }
    let usage = site.usage().since(usage);
    findings.set(Measure::ServiceCores, usage.service / seconds);
    findings.set(Measure::ServerCores, (usage.service + usage.engine) / seconds);
    Ok(())
}

/// The service's count of its round trips to the database, summed over all labels; `None` where it has no such metric.
async fn round_trips(http: &mut Http) -> anyhow::Result<Option<f64>> {
    let (status, text) = http.call("GET", "/metrics", "").await?;
    ensure!(status == 200, "/metrics answered {status}");
    Ok(sum_of(&text, "database_round_trips_total"))
}

/// The sum of a metric over all its labels, in Prometheus' text format.
fn sum_of(text: &str, name: &str) -> Option<f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let values = lines.filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let metric = series.split('{').next()?;
        metric.contains(name).then(|| value.parse::<f64>().ok())?
    });
    values.reduce(|sum, value| sum + value)
}

/// Waits until all are answered that they were not granted. Any other answer, or none by this time, is a failure.
async fn give_up(mut tasks: JoinSet<Option<Failure>>, last: Instant) -> Failures {
    let mut failures = Failures::default();
    while let Ok(Some(ended)) = timeout_at(last.into(), tasks.join_next()).await {
        match ended {
            Ok(Some(Failure::Status { status: 423, .. })) => {}
            Ok(Some(failure)) => failures.add(&failure),
            Ok(None) => failures.add_times("granted while it was held".into(), 1),
            Err(error) => failures.add(&Failure::driver("a task of the load", &error)),
        }
    }
    failures.add_times(Failure::Stuck.to_string(), count(tasks.len()));
    failures
}

#[cfg(test)]
mod tests {
    use super::sum_of;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let text = "# TYPE a_total counter\na_total{kind=\"x y\"} 2\na_total{kind=\"z\"} 3.5\nb_total 9\n";
        assert_eq!(sum_of(text, "a_total"), Some(5.5));
        assert_eq!(sum_of(text, "c_total"), None);
    }
}
