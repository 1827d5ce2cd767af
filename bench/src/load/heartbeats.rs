//! Heartbeats on locks that are held.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{
    crew::{self, Window},
    lane::Lane,
    tally::Tally,
};
use crate::{
    client::{Ask, Dialer, Failure, Failures, Grant},
    number::{nanos, unique},
    report::Findings,
    settings::{Peer, Settings},
    site::Site,
};

/// A client with the locks that it holds.
struct Holder {
    lane: Lane,
    held: Vec<(String, Grant)>,
    failures: Failures,
}

/// Acquires the locks, measures heartbeats on them in turn, and releases them, which proves that they were held all the
/// time.
pub(super) async fn measure(
    site: &Site,
    peer: Peer,
    locks: usize,
    connections: usize,
    settings: &Settings,
) -> anyhow::Result<Findings> {
    let ask = Ask { lease_each: true, ..Ask::once() };
    let dialer = Dialer { peer, target: site.target().clone(), ask };
    let lanes = Lane::dial(dialer, connections).await?;
    let name = unique();
    let mut takers = JoinSet::new();
    for lane in lanes {
        let numbers = (lane.index..locks).step_by(connections);
        let keys: Vec<_> = numbers.map(|number| format!("held-{name}-{number}")).collect();
        takers.spawn(take(lane, keys));
    }
    let holders = takers.join_all().await;
    let window = Window::open(settings);
    let mut tasks = JoinSet::new();
    for holder in holders {
        tasks.spawn(beat(holder, window));
    }
    let (tallies, outcome) = crew::watch(site, window, tasks).await;
    let tally = Tally::merge(tallies);
    let mut findings = Findings::default();
    outcome.describe(&mut findings, tally.whole.len());
    tally.describe(&mut findings);
    findings.failures.merge(outcome.failures);
    Ok(findings)
}

/// Acquires a client's share of the locks.
async fn take(mut lane: Lane, keys: Vec<String>) -> Holder {
    let mut held = Vec::new();
    let mut failures = Failures::default();
    for key in keys {
        match lane.client.acquire(&key).await {
            Ok(grant) => held.push((key, grant)),
            Err(failure) => {
                lane.mend(&failure, &mut failures, Instant::now() + Duration::from_secs(10)).await;
            }
        }
    }
    Holder { lane, held, failures }
}

/// Extends one lease after the other until the window is over, then releases all.
async fn beat(holder: Holder, window: Window) -> Tally {
    let Holder { mut lane, held, failures } = holder;
    let mut tally = Tally { failures, ..Tally::default() };
    for (key, grant) in held.iter().cycle() {
        let began = Instant::now();
        if began >= window.until {
            break;
        }
        match lane.client.heartbeat(key, grant).await {
            Ok(()) => {
                let ended = Instant::now();
                if window.counts(ended) {
                    tally.whole.push(nanos(ended - began));
                }
            }
            Err(failure @ Failure::Unsupported(_)) => {
                tally.failures.add(&failure);
                break;
            }
            Err(failure) => lane.mend(&failure, &mut tally.failures, window.until).await,
        }
    }
    for (key, grant) in &held {
        if let Err(failure) = lane.client.release(key, grant).await {
            lane.mend(&failure, &mut tally.failures, Instant::now() + Duration::from_secs(1)).await;
        }
    }
    tally
}
