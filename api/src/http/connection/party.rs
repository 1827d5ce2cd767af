//! Whose turns a connection takes.

use std::{
    hash::BuildHasher,
    net::IpAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use db_locks_service::access::Identity;

use super::{Newcomers, Slot};
use crate::http::own_room::network_of;

/// The number of parties of clients without a valid credential. Those that have work share as much as one tenant has.
const UNKNOWN_PARTIES: u64 = 64;
/// The number of groups of parties with one share: see [`Party::group`].
pub(in crate::http) const GROUPS: usize = 2;

/// Those who share the time of the threads: a tenant, or clients without a valid credential from some addresses, and for each of them those
/// that have just connected.
///
/// The lowest bit is set for a tenant, the next one for newcomers. The rest is a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(in crate::http) struct Party(u64);

const OF_TENANT: u64 = 1;
const NEWCOMERS: u64 = 2;

impl Party {
    /// Some of the clients without a valid credential, as long as it does not matter which.
    pub(in crate::http) const UNKNOWN: Self = Self(0);

    /// The clients without a valid credential from this address, and from many others. So a flood from few addresses delays few others.
    pub(super) fn unknown(address: IpAddr, hashing: &impl BuildHasher) -> Self {
        Self((hashing.hash_one(address) % UNKNOWN_PARTIES) << 2)
    }

    /// The tenant of a bearer. A token for all tenants counts as one of its own. JWTs and certificates for all tenants count as one
    /// together: an issuer has as many subjects as it likes.
    pub(super) fn of(bearer: &Identity, hashing: &impl BuildHasher) -> Self {
        let hash = match &bearer.tenant {
            Some(tenant) => hashing.hash_one(tenant),
            None if bearer.who.starts_with("token:") => hashing.hash_one(bearer.credential),
            None => hashing.hash_one("for all tenants"),
        };
        Self((hash << 2) | OF_TENANT)
    }

    /// Connections without a first request, from addresses of this party's clients.
    pub(super) const fn newcomers(self) -> Self {
        Self(self.0 | NEWCOMERS)
    }

    /// The party of the same clients once they are no newcomers.
    pub(in crate::http) const fn settled(self) -> Self {
        Self(self.0 & !NEWCOMERS)
    }

    /// Whether these are connections without a first request.
    pub(in crate::http) const fn are_newcomers(self) -> bool {
        self.0 & NEWCOMERS != 0
    }

    /// The parties that have one share together: those of clients without a valid credential, and their newcomers. `None` for a tenant.
    pub(in crate::http) const fn group(self) -> Option<usize> {
        if self.0 & OF_TENANT == 0 { Some(self.are_newcomers() as usize) } else { None }
    }

    /// One of several parties.
    #[cfg(test)]
    pub(in crate::http) const fn for_test(number: u64) -> Self {
        Self((number << 2) | OF_TENANT)
    }

    /// One of several parties of clients without a valid credential.
    #[cfg(test)]
    pub(in crate::http) const fn unknown_for_test(number: u64) -> Self {
        Self(number << 2)
    }

    /// Newcomers from unknown addresses.
    #[cfg(test)]
    pub(in crate::http) const fn newcomers_for_test() -> Self {
        Self::UNKNOWN.newcomers()
    }
}

/// The party of the last credential on a connection. Before the first request it is that of newcomers from its address.
#[derive(Debug)]
pub(in crate::http) struct LastParty {
    party: AtomicU64,
    address: IpAddr,
    /// The party without a valid credential.
    unknown: Party,
    newcomers: Arc<Newcomers>,
    /// The slot of the connection.
    slot: Weak<Slot>,
}

impl LastParty {
    /// The party of a new connection of a client with this address.
    pub(in crate::http) fn of_newcomer(peer: IpAddr, newcomers: &Arc<Newcomers>) -> Self {
        let address = network_of(peer);
        let unknown = newcomers.unknown(address);
        let party = newcomers.tenant(address).unwrap_or(unknown).newcomers();
        Self {
            party: AtomicU64::new(party.0),
            address,
            unknown,
            newcomers: Arc::clone(newcomers),
            slot: Weak::new(),
        }
    }

    /// Sets the slot of the connection, which counts for the party of its first valid credential.
    pub(in crate::http) fn set_slot(&mut self, slot: &Arc<Slot>) {
        self.slot = Arc::downgrade(slot);
    }

    /// The party of clients without a valid credential from this address.
    pub(super) const fn unknown(&self) -> Party {
        self.unknown
    }

    pub(in crate::http) fn get(&self) -> Party {
        Party(self.party.load(Ordering::Relaxed))
    }

    /// Notes a valid credential.
    pub(super) fn set(&self, bearer: &Identity) {
        let party = self.newcomers.party_of(bearer);
        let before = Party(self.party.swap(party.0, Ordering::Relaxed));
        if before != party {
            self.newcomers.remember(self.address, party);
        }
        if (before.are_newcomers() || before.group().is_some())
            && let Some(slot) = self.slot.upgrade()
        {
            slot.set_tenant(party);
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
        self.party.store(self.unknown.0, Ordering::Relaxed);
    }
}
