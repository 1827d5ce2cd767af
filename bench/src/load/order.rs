//! Checks that waiters are granted in the order in which they were queued, over all replicas.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tokio::{task::JoinSet, time::timeout};

use super::lane::Lane;
use crate::{
    client::{Ask, Dialer, Failure, Http},
    number::{count, float, unique},
    report::{Findings, Measure},
    settings::Peer,
    site::Site,
};

/// The longest time of a step: queueing one waiter, or granting all of them.
const PATIENCE: Duration = Duration::from_secs(30);

/// Queues the waiters one after another on the replicas in turn, releases, and compares the order of the grants.
pub(super) async fn measure(
    site: &Site,
    peer: Peer,
    waiters: usize,
    rounds: usize,
) -> anyhow::Result<Findings> {
    let dialer = Dialer { peer, target: site.target().clone(), ask: Ask::patient() };
    let mut watchers = Vec::new();
    for &address in &site.target().front {
        watchers.push(Http::connect(address).await?);
    }
    let mut findings = Findings::default();
    let (mut ordered, mut measured) = (0, 0);
    let began = Instant::now();
    for _ in 0..rounds {
        // The last lane holds the lock, the others wait for it.
        let lanes = Lane::dial(dialer.clone(), waiters + 1).await?;
        match round(lanes, &mut watchers).await {
            Ok(order) => {
                measured += 1;
                ordered += u64::from(order.iter().copied().eq(0..waiters));
            }
            Err(error) => findings.failures.add_times(format!("a round failed: {error:#}"), 1),
        }
    }
    findings.set(Measure::Rounds, float(measured));
    findings.set(Measure::OrderedRounds, float(ordered));
    findings.set(Measure::RoundSeconds, began.elapsed().as_secs_f64() / float(count(rounds)));
    Ok(findings)
}

/// One round: the numbers of the waiters in the order of their tokens.
async fn round(mut lanes: Vec<Lane>, watchers: &mut [Http]) -> anyhow::Result<Vec<usize>> {
    let key = format!("order-{}", unique());
    let mut holder = lanes.pop().context("a round without clients")?;
    let held = holder.client.acquire(&key).await?;
    let mut tasks = JoinSet::new();
    for (number, mut lane) in lanes.into_iter().enumerate() {
        let replica = lane.index % watchers.len();
        let name = key.clone();
        tasks.spawn(async move {
            let grant = lane.client.acquire(&name).await?;
            lane.client.release(&name, &grant).await?;
            Ok::<_, Failure>((grant.fencing_token, number))
        });
        until_queued(&mut watchers[replica], &key, count(number) + 1).await?;
    }
    holder.client.release(&key, &held).await?;
    let mut grants = Vec::new();
    while let Some(ended) = timeout(PATIENCE, tasks.join_next()).await.context("a waiter was not granted")? {
        grants.push(ended??);
    }
    grants.sort_unstable();
    ensure!(grants.windows(2).all(|pair| pair[0].0 < pair[1].0), "the same token twice");
    Ok(grants.into_iter().map(|(_, number)| number).collect())
}

/// Waits until the lock shows this number of waiters.
async fn until_queued(http: &mut Http, key: &str, waiters: u64) -> anyhow::Result<()> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let (status, body) = http.call("GET", &format!("/locks/{key}"), "").await?;
        ensure!(status == 200, "the lock answered {status}");
        let lock: Value = serde_json::from_str(&body).context("read the lock")?;
        if lock["waiters"].as_u64() == Some(waiters) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bail!("waiter {waiters} was not queued")
}
