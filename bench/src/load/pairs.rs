//! Acquire and release on distinct keys.

use tokio::task::JoinSet;

use super::{
    closed,
    crew::{self, Window},
    keys::KeySource,
    lane::Lane,
    open,
    tally::Tally,
};
use crate::{
    client::{Ask, Dialer},
    plan::{Keys, Route},
    report::Findings,
    settings::{Peer, Settings},
    site::Site,
};

/// The kind of pairs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// The number of connections.
    pub(super) connections: usize,
    /// The keys.
    pub(super) keys: Keys,
    /// The choice of the replica.
    pub(super) route: Route,
}

/// Measures pairs, closed or open loop as the settings say.
pub(super) async fn measure(
    site: &Site,
    peer: Peer,
    shape: Shape,
    settings: &Settings,
) -> anyhow::Result<Findings> {
    let ask = Ask { route: shape.route, guarded: shape.keys == Keys::Guarded, ..Ask::once() };
    let dialer = Dialer { peer, target: site.target().clone(), ask };
    let lanes = Lane::dial(dialer, shape.connections).await?;
    let sources = KeySource::for_clients(shape.keys, shape.connections, settings);
    let clients: Vec<_> = lanes.into_iter().zip(sources).collect();
    let mut findings = Findings::default();
    let (clients, primed) = closed::prime(clients, peer).await;
    findings.failures.merge(primed);

    let window = Window::open(settings);
    let mut tasks = JoinSet::new();
    if let Some(rate) = settings.rate {
        open::spawn(&mut tasks, clients, rate, window);
    } else {
        for (lane, keys) in clients {
            tasks.spawn(closed::pairs(lane, keys, window));
        }
    }
    let (tallies, outcome) = crew::watch(site, window, tasks).await;
    let tally = Tally::merge(tallies);
    outcome.describe(&mut findings, tally.whole.len());
    tally.describe(&mut findings);
    findings.failures.merge(outcome.failures);
    Ok(findings)
}
