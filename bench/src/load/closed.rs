//! The closed loop: each client starts its next pair when its last pair has been answered.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{crew::Window, keys::KeySource, lane::Lane, tally::Tally};
use crate::{
    client::{Failure, Failures},
    settings::Peer,
};

/// Does pairs until the window is over. Pairs that end within it count.
pub(super) async fn pairs(mut lane: Lane, mut keys: KeySource, window: Window) -> Tally {
    let mut tally = Tally::default();
    while !window.is_over() {
        let began = Instant::now();
        match pair(&mut lane, keys.next()).await {
            Ok((granted, released)) if window.counts(released) => {
                tally.pair(began, began, granted, released);
            }
            Ok(_) => {}
            Err(failure) => lane.mend(&failure, &mut tally.failures, window.until).await,
        }
    }
    tally
}

/// Does one pair. Returns the times of the grant and of the answer to the release.
pub(super) async fn pair(lane: &mut Lane, key: &str) -> Result<(Instant, Instant), Failure> {
    let grant = lane.client.acquire(key).await?;
    let granted = Instant::now();
    lane.client.release(key, &grant).await?;
    Ok((granted, Instant::now()))
}

/// Does one pair on each key that will be reused, so that all pairs that count reuse their keys. Peers that keep
/// nothing of a released lock do not need that.
pub(super) async fn prime(clients: Vec<(Lane, KeySource)>, peer: Peer) -> (Vec<(Lane, KeySource)>, Failures) {
    if !peer.keeps_rows() {
        return (clients, Failures::default());
    }
    let mut tasks = JoinSet::new();
    for (lane, keys) in clients {
        tasks.spawn(go_round(lane, keys));
    }
    let mut failures = Failures::default();
    let mut primed = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok((lane, keys, failed)) => {
                primed.push((lane, keys));
                failures.merge(failed);
            }
            Err(error) => failures.add(&Failure::driver("a task of the load", &error)),
        }
    }
    (primed, failures)
}

/// Does one client's pairs on each of its keys once.
async fn go_round(mut lane: Lane, mut keys: KeySource) -> (Lane, KeySource, Failures) {
    let mut failures = Failures::default();
    for _ in 0..keys.cycle().unwrap_or(0) {
        if let Err(failure) = pair(&mut lane, keys.next()).await {
            lane.mend(&failure, &mut failures, Instant::now() + Duration::from_secs(10)).await;
        }
    }
    (lane, keys, failures)
}
