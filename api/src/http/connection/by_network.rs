//! Connections that count as without a credential, by their networks: finds the one that ends for a newcomer.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The connections, each with a handle by which it can be ended.
#[derive(Debug)]
pub(super) struct ByNetwork<H> {
    networks: BTreeMap<IpAddr, Network<H>>,
    /// The networks by their number of connections. So the largest one is found without a search.
    by_size: BTreeSet<(usize, IpAddr)>,
    /// The number of connections so far.
    number: u64,
}

/// The connections of one network by their numbers: the newest is the last.
type Network<H> = BTreeMap<u64, H>;

impl<H> Default for ByNetwork<H> {
    fn default() -> Self {
        Self { networks: BTreeMap::new(), by_size: BTreeSet::new(), number: 0 }
    }
}

impl<H> ByNetwork<H> {
    /// Adds a connection, and returns its number.
    pub(super) fn add(&mut self, network: IpAddr, handle: H) -> u64 {
        self.number += 1;
        let number = self.number;
        self.change(network, |connections| connections.insert(number, handle));
        number
    }

    /// Removes a connection, if it is there.
    pub(super) fn remove(&mut self, network: IpAddr, number: u64) {
        self.change(network, |connections| connections.remove(&number));
    }

    /// Removes the newest connection of the largest network, if this network then has no more than that one. So shares become equal, and
    /// networks with equal shares take nothing from each other.
    pub(super) fn remove_for(&mut self, newcomer: IpAddr) -> Option<H> {
        let size = self.size(newcomer);
        let &(largest, network) = self.by_size.last()?;
        if largest < size + 2 {
            return None;
        }
        self.change(network, BTreeMap::pop_last).map(|(_, handle)| handle)
    }

    /// The number of connections of a network.
    pub(super) fn size(&self, network: IpAddr) -> usize {
        self.networks.get(&network).map_or(0, BTreeMap::len)
    }

    /// Changes the connections of one network.
    fn change<R>(&mut self, network: IpAddr, change: impl FnOnce(&mut Network<H>) -> R) -> R {
        let connections = self.networks.entry(network).or_default();
        self.by_size.remove(&(connections.len(), network));
        let result = change(connections);
        let size = connections.len();
        if size == 0 {
            self.networks.remove(&network);
        } else {
            self.by_size.insert((size, network));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    const NEW: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3));

    /// Connections from these networks, whose handles are their numbers.
    fn connections(of: &[IpAddr]) -> ByNetwork<u64> {
        let mut connections = ByNetwork::default();
        for (network, number) in of.iter().zip(1..) {
            assert_eq!(connections.add(*network, number), number);
        }
        connections
    }

    #[test]
    fn the_newest_connection_of_the_largest_network_ends() {
        let mut connections = connections(&[ONE, OTHER, ONE, OTHER, ONE, OTHER, ONE]);
        assert_eq!(connections.remove_for(NEW), Some(7));
        connections.remove(OTHER, 6);
        assert_eq!(connections.remove_for(NEW), Some(5));
    }

    #[test]
    fn a_network_takes_nothing_from_one_that_has_hardly_more() {
        let mut connections = connections(&[ONE, OTHER, ONE]);
        assert_eq!(connections.remove_for(OTHER), None);
        assert_eq!(connections.remove_for(ONE), None);
        assert_eq!(connections.remove_for(NEW), Some(3));
        assert_eq!(connections.remove_for(NEW), None, "each has one");
    }

    #[test]
    fn networks_without_connections_are_forgotten() {
        let mut connections = connections(&[ONE, ONE, OTHER]);
        assert_eq!(connections.remove_for(NEW), Some(2));
        for (network, number) in [(ONE, 1), (ONE, 2), (OTHER, 3), (OTHER, 3), (NEW, 4)] {
            connections.remove(network, number);
        }
        assert!(connections.networks.is_empty() && connections.by_size.is_empty(), "{connections:?}");
    }
}
