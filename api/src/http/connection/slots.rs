//! Slots for connections: all clients share as many as may be open.
//!
//! Where credentials are required, clients that have shown none leave a quarter of the slots to others, and a tenant leaves an eighth.
//! So nobody can keep all others from connecting.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use super::Party;
use crate::http::{
    own_room::network_of,
    shared_room::{Share, SharedRoom, Taker},
};

/// Somebody who takes slots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Client {
    /// A tenant: connections with its credentials, and new ones from addresses of its clients.
    Tenant(Party),
    /// The new ones of them that come from one network, until they show a valid credential.
    NewFrom(IpAddr),
    /// All other connections together.
    Unknown,
    /// Those of them that come from one network.
    UnknownFrom(IpAddr),
}

/// So many times as many slots as are free have those without a credential at most.
const OF_UNKNOWN: usize = 3;

impl Taker for Client {
    fn most(&self, free: usize, taken: &BTreeMap<Self, usize>) -> usize {
        let most = match self {
            Self::Tenant(_) => 7 * free,
            Self::NewFrom(_) => free,
            Self::Unknown => OF_UNKNOWN * free,
            Self::UnknownFrom(_) => {
                // As many as it leaves to all others without a credential.
                let unknown = taken.get(&Self::Unknown).copied().unwrap_or_default();
                (OF_UNKNOWN * free).saturating_sub(unknown) / (OF_UNKNOWN + 1)
            }
        };
        most.max(1)
    }
}

/// The slots for connections.
#[derive(Debug, Clone)]
pub(in crate::http) struct Slots {
    room: SharedRoom<Client>,
    /// Whether credentials are required. Otherwise nobody can be distinguished.
    by_client: bool,
}

impl Slots {
    /// This many slots.
    pub(in crate::http) fn new(slots: usize, by_client: bool) -> Self {
        Self { room: SharedRoom::new(slots), by_client }
    }

    /// Takes a slot for a new connection of a client with this address; `None` if it must not have one.
    pub(in crate::http) fn take(&self, party: Party, peer: IpAddr) -> Option<Arc<Slot>> {
        let network = network_of(peer);
        let takers = match party.group() {
            Some(_) => [Client::Unknown, Client::UnknownFrom(network)],
            None => [Client::Tenant(party.settled()), Client::NewFrom(network)],
        };
        let takers = takers.map(|taker| self.by_client.then_some(taker));
        let mut share = self.room.share_of(takers);
        share.grow_to(1).then(|| Arc::new(Slot(Mutex::new(share))))
    }

    /// The number of free slots.
    #[cfg(test)]
    pub(in crate::http) fn free(&self) -> usize {
        self.room.free()
    }
}

/// The slot of a connection. It is free again on drop.
#[derive(Debug)]
pub(in crate::http) struct Slot(Mutex<Share<Client>>);

impl Slot {
    /// Notes whose valid credential the connection has. It keeps its slot. If the tenant has too many, it is counted as before: otherwise
    /// connections of one tenant could take all slots, those without a credential first.
    pub(super) fn set_tenant(&self, party: Party) {
        let mut share = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        share.belong_to([Some(Client::Tenant(party)), None]);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn from(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    /// Takes as many slots as this client gets.
    fn fill(slots: &Slots, party: Party, peer: u32) -> Vec<Arc<Slot>> {
        std::iter::from_fn(|| slots.take(party, from(peer))).collect()
    }

    #[test]
    fn clients_without_a_credential_leave_slots_to_each_other_and_to_tenants() {
        let slots = Slots::new(1_000, true);
        let (unknown, tenant) = (Party::newcomers_for_test(), Party::for_test(1).newcomers());
        let flood: Vec<_> = [1, 2].into_iter().flat_map(|peer| fill(&slots, unknown, peer)).collect();
        assert_eq!(flood.len(), 375 + 187);
        assert!(slots.take(unknown, from(3)).is_some(), "another address");
        let others: Vec<_> = (3..1_000).flat_map(|peer| fill(&slots, unknown, peer)).collect();
        assert_eq!(flood.len() + others.len(), 750);
        let of_tenant = fill(&slots, tenant, 1_000);
        assert_eq!(of_tenant.len(), 125, "from one address");
        let of_others: Vec<_> = (1_001..2_000).flat_map(|peer| fill(&slots, tenant, peer)).collect();
        assert_eq!(of_tenant.len() + of_others.len(), 218);
        assert!(slots.take(Party::for_test(2).newcomers(), from(2_000)).is_some(), "another tenant");
        drop((flood, others, of_tenant, of_others));
        assert_eq!(slots.free(), 1_000);
    }

    #[test]
    fn a_connection_with_a_credential_counts_for_its_tenant() {
        let slots = Slots::new(8, true);
        let unknown = Party::newcomers_for_test();
        let connections = fill(&slots, unknown, 1);
        assert_eq!((connections.len(), slots.take(unknown, from(1)).is_some()), (3, false));
        for slot in &connections {
            slot.set_tenant(Party::for_test(1));
        }
        assert_eq!(fill(&slots, unknown, 1).len(), 2);
    }

    #[test]
    fn connections_that_show_a_credential_later_leave_slots_to_others() {
        let slots = Slots::new(1_000, true);
        let mut connections = Vec::new();
        for round in 0..10 {
            let before = connections.len();
            connections.extend(
                (0..100).flat_map(|peer| fill(&slots, Party::newcomers_for_test(), 100 * round + peer)),
            );
            for slot in connections.iter().skip(before) {
                slot.set_tenant(Party::for_test(1));
            }
        }
        let other =
            (2_000..3_000).flat_map(|peer| fill(&slots, Party::for_test(2).newcomers(), peer)).count();
        assert!(connections.len() < 970 && other > 20, "{}, {other}", connections.len());
    }

    #[test]
    fn without_credentials_a_client_may_take_all_slots() {
        let slots = Slots::new(8, false);
        assert_eq!(fill(&slots, Party::newcomers_for_test(), 1).len(), 8);
    }
}
