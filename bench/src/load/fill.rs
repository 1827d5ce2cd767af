//! Fills the table of a stand before it is measured.

use anyhow::ensure;
use tokio::task::JoinSet;

use super::lane::Lane;
use crate::{
    client::{Ask, Dialer},
    number::{count, index},
    settings::Peer,
    site::Site,
};

/// The number of connections through which the service is filled.
const LANES: usize = 256;

/// Fills the table with the rows `row-0` and so on, each a free lock. It uses a statement if the benchmark knows the
/// table, and requests if the table is the service's. There a lease of a millisecond frees each lock.
pub(crate) async fn fill(site: &Site, peer: Peer, rows: u64) -> anyhow::Result<()> {
    if !site.fill_bare(rows).await? {
        let ask = Ask { lease_ms: 1, ..Ask::once() };
        let dialer = Dialer { peer, target: site.target().clone(), ask };
        let lanes = Lane::dial(dialer, LANES).await?;
        let mut tasks = JoinSet::new();
        for lane in lanes {
            tasks.spawn(create(lane, rows));
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
    }
    site.settle().await
}

/// Creates one client's share of the rows.
async fn create(mut lane: Lane, rows: u64) -> anyhow::Result<()> {
    for row in (count(lane.index)..rows).step_by(LANES) {
        let grant = lane.client.acquire(&format!("row-{row}")).await?;
        ensure!(grant.fencing_token > 0, "row {} was granted without a token", index(row));
    }
    Ok(())
}
