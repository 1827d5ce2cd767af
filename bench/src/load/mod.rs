//! The load: the same loops for every peer.

mod closed;
mod contend;
mod crew;
mod fill;
mod heartbeats;
mod idle;
mod keys;
mod lane;
mod open;
mod order;
mod pairs;
mod pgbench;
mod tally;
mod transactions;

pub(crate) use self::fill::fill;
use crate::{
    plan::{Cell, Load},
    report::Findings,
    settings::{Peer, Settings},
    site::Site,
};

/// Does one measurement on an open site.
pub(crate) async fn measure(site: &Site, cell: Cell, settings: &Settings) -> anyhow::Result<Findings> {
    match cell.load {
        Load::Pairs { connections, .. } if cell.peer == Peer::Pgbench => {
            pgbench::measure(site, connections, settings).await
        }
        Load::Pairs { connections, keys, route } => {
            pairs::measure(site, cell.peer, pairs::Shape { connections, keys, route }, settings).await
        }
        Load::Heartbeats { locks, connections } => {
            heartbeats::measure(site, cell.peer, locks, connections, settings).await
        }
        Load::Hot { waiters } => contend::hot(site, cell.peer, waiters, settings).await,
        Load::Semaphore { permits, clients } => {
            contend::semaphore(site, cell.peer, permits, clients, settings).await
        }
        Load::Idle { waiters, keys } => idle::measure(site, cell.peer, waiters, keys, settings).await,
        Load::Transactions { proof } => transactions::measure(site, cell.peer, proof, settings).await,
        Load::Order { waiters, rounds } => order::measure(site, cell.peer, waiters, rounds).await,
    }
}
