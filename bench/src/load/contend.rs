//! Many clients that contend for one key: a lock that is passed on and on, or a semaphore.

use std::time::Instant;

use anyhow::ensure;
use tokio::task::JoinSet;

use super::{
    crew::{self, Outcome, Window},
    lane::Lane,
    tally::{Tally, percentiles},
};
use crate::{
    client::{Ask, Dialer, Failures, Http},
    number::{nanos, unique},
    report::{Findings, Measure},
    settings::{Peer, Settings},
    site::Site,
};

/// One client's turn with the key.
#[derive(Debug, Clone, Copy)]
struct Turn {
    /// When the acquire was sent.
    asked: Instant,
    /// When the grant arrived, and the release was sent.
    granted: Instant,
    /// When the release was answered.
    released: Instant,
    /// The grant's fencing token, or 0.
    token: u64,
}

/// The turns of the clients.
struct Contest {
    /// The turns, in the order in which the grants arrived.
    turns: Vec<Turn>,
    window: Window,
    outcome: Outcome,
    failures: Failures,
}

/// Measures hand-overs of one lock: one client holds it, the others wait, and a client that releases queues again.
pub(super) async fn hot(
    site: &Site,
    peer: Peer,
    waiters: usize,
    settings: &Settings,
) -> anyhow::Result<Findings> {
    let dialer = Dialer { peer, target: site.target().clone(), ask: Ask::patient() };
    let key = format!("hot-{}", unique());
    let Contest { turns, window, outcome, failures } =
        contend(dialer, waiters + 1, &key, site, settings).await?;
    let mut from_release = Vec::new();
    let mut from_answer = Vec::new();
    let mut disorder = 0;
    for pair in turns.windows(2) {
        let (last, next) = (pair[0], pair[1]);
        disorder += u64::from(next.token != 0 && next.token <= last.token);
        if window.counts(next.granted) {
            from_release.push(nanos(next.granted - last.granted));
            from_answer.push(nanos(next.granted.saturating_duration_since(last.released)));
        }
    }
    let mut findings = Findings::default();
    outcome.describe(&mut findings, from_release.len());
    percentiles(&mut findings, [Measure::P50Us, Measure::P99Us, Measure::P999Us], &from_release);
    let after = [Measure::AfterAnswerP50Us, Measure::AfterAnswerP99Us, Measure::AfterAnswerP999Us];
    percentiles(&mut findings, after, &from_answer);
    findings.failures.merge(failures);
    findings.failures.add_times("a token below the one before it".into(), disorder);
    Ok(findings)
}

/// Measures a semaphore: each client acquires a permit, releases it at once, and queues again.
pub(super) async fn semaphore(
    site: &Site,
    peer: Peer,
    permits: usize,
    clients: usize,
    settings: &Settings,
) -> anyhow::Result<Findings> {
    let key = format!("permits-{}", unique());
    let mut http = Http::connect(site.target().first()).await?;
    let body = format!(r#"{{"max_size":{permits}}}"#);
    let (status, answer) = http.call("PUT", &format!("/semaphores/{key}"), &body).await?;
    ensure!(status == 201, "the semaphore was not created: {status} {answer}");
    let ask = Ask { semaphore: true, ..Ask::patient() };
    let dialer = Dialer { peer, target: site.target().clone(), ask };
    let Contest { turns, window, outcome, failures } = contend(dialer, clients, &key, site, settings).await?;
    let mut tally = Tally { failures, ..Tally::default() };
    for turn in turns.iter().filter(|turn| window.counts(turn.released)) {
        tally.pair(turn.asked, turn.asked, turn.granted, turn.released);
    }
    let mut findings = Findings::default();
    outcome.describe(&mut findings, tally.whole.len());
    tally.describe(&mut findings);
    Ok(findings)
}

/// Lets this number of clients contend for a key.
async fn contend(
    dialer: Dialer,
    clients: usize,
    key: &str,
    site: &Site,
    settings: &Settings,
) -> anyhow::Result<Contest> {
    let lanes = Lane::dial(dialer, clients).await?;
    let window = Window::open(settings);
    let mut tasks = JoinSet::new();
    for lane in lanes {
        tasks.spawn(take_turns(lane, key.to_owned(), window));
    }
    let (results, mut outcome) = crew::watch(site, window, tasks).await;
    let mut failures = std::mem::take(&mut outcome.failures);
    let mut turns = Vec::new();
    for (more, failed) in results {
        turns.extend(more);
        failures.merge(failed);
    }
    turns.sort_by_key(|turn| turn.granted);
    Ok(Contest { turns, window, outcome, failures })
}

/// One client's turns until the window is over.
async fn take_turns(mut lane: Lane, key: String, window: Window) -> (Vec<Turn>, Failures) {
    let mut turns = Vec::new();
    let mut failures = Failures::default();
    while !window.is_over() {
        let asked = Instant::now();
        let grant = match lane.client.acquire(&key).await {
            Ok(grant) => grant,
            Err(failure) => {
                lane.mend(&failure, &mut failures, window.until).await;
                continue;
            }
        };
        let granted = Instant::now();
        match lane.client.release(&key, &grant).await {
            Ok(()) => {
                let token = grant.fencing_token;
                turns.push(Turn { asked, granted, released: Instant::now(), token });
            }
            Err(failure) => lane.mend(&failure, &mut failures, window.until).await,
        }
    }
    (turns, failures)
}
