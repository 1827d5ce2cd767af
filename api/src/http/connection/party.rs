//! Whose turns a connection takes.

use std::{
    hash::{Hash, Hasher},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use db_locks_service::access::Identity;
use rustc_hash::FxHasher;

use super::Newcomers;
use crate::http::own_room::network_of;

/// Those who share the time of the threads equally: a tenant, newcomers, or all clients without a valid credential together.
///
/// An odd number is the hash of a tenant, an even one that of newcomers, unless it is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(in crate::http) struct Party(u64);

impl Party {
    /// The clients without a valid credential.
    pub(in crate::http) const UNKNOWN: Self = Self(0);

    /// The tenant of a bearer. Who may act for all tenants counts as one of its own.
    fn of(bearer: &Identity) -> Self {
        let mut hasher = FxHasher::default();
        match &bearer.tenant {
            Some(tenant) => tenant.hash(&mut hasher),
            None => bearer.credential.hash(&mut hasher),
        }
        Self(hasher.finish() | 1)
    }

    /// Connections without a first request, from addresses of this party's clients.
    pub(super) fn newcomers(self) -> Self {
        let mut hasher = FxHasher::default();
        self.0.hash(&mut hasher);
        Self((hasher.finish() & !1).max(2))
    }

    /// Whether these are connections without a first request.
    pub(in crate::http) const fn are_newcomers(self) -> bool {
        self.0 != 0 && self.0.is_multiple_of(2)
    }

    /// One of several parties.
    #[cfg(test)]
    pub(in crate::http) const fn for_test(number: u64) -> Self {
        Self(2 * number + 1)
    }

    /// Newcomers from unknown addresses.
    #[cfg(test)]
    pub(in crate::http) fn newcomers_for_test() -> Self {
        Self::UNKNOWN.newcomers()
    }
}

/// The party of the last credential on a connection. Before the first request it is that of newcomers from its address.
#[derive(Debug)]
pub(in crate::http) struct LastParty {
    party: AtomicU64,
    address: IpAddr,
    newcomers: Arc<Newcomers>,
}

impl LastParty {
    /// The party of a new connection of a client with this address.
    pub(in crate::http) fn of_newcomer(peer: IpAddr, newcomers: &Arc<Newcomers>) -> Self {
        let address = network_of(peer);
        let party = AtomicU64::new(newcomers.party(address).0);
        Self { party, address, newcomers: Arc::clone(newcomers) }
    }

    pub(in crate::http) fn get(&self) -> Party {
        Party(self.party.load(Ordering::Relaxed))
    }

    /// Notes a valid credential.
    pub(super) fn set(&self, bearer: &Identity) {
        let party = Party::of(bearer);
        if self.party.swap(party.0, Ordering::Relaxed) != party.0 {
            self.newcomers.remember(self.address, party);
        }
    }

    /// Notes a request without a credential, which may follow those of a bearer.
    pub(super) fn settle(&self) {
        if self.get().are_newcomers() {
            self.unset();
        }
    }

    /// Notes a credential that was refused.
    pub(super) fn unset(&self) {
        self.party.store(Party::UNKNOWN.0, Ordering::Relaxed);
    }
}
