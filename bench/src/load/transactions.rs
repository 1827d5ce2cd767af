//! Transactions of a user that proves in each of them that nobody else writes.

use std::time::Instant;

use super::{crew::Window, tally::percentiles};
use crate::{
    client::{Ask, Dialer, User},
    number::nanos,
    plan::Proof,
    report::{Findings, Measure},
    settings::{Peer, Settings},
    site::Site,
};

/// The key of the grant.
const KEY: &str = "transactions";

/// Measures the proof, in one transaction after the other, while the grant is active.
pub(super) async fn measure(
    site: &Site,
    peer: Peer,
    proof: Proof,
    settings: &Settings,
) -> anyhow::Result<Findings> {
    let ask = Ask { guarded: true, ..Ask::once() };
    let mut client = Dialer { peer, target: site.target().clone(), ask }.dial(0).await?;
    let grant = client.acquire(KEY).await?;
    let mut user = User::connect(site.target(), proof, KEY, &grant.name).await?;
    let window = Window::open(settings);
    let mut times = Vec::new();
    while !window.is_over() {
        let took = user.transaction().await?;
        if window.counts(Instant::now()) {
            times.push(nanos(took));
        }
    }
    client.release(KEY, &grant).await?;
    let mut findings = Findings::default();
    percentiles(&mut findings, [Measure::P50Us, Measure::P99Us, Measure::P999Us], &times);
    Ok(findings)
}
