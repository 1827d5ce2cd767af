//! Connections that count as without a credential, by their networks: finds the one that ends for a newcomer.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The connections, each with a handle by which it can be ended.
#[derive(Debug)]
pub(super) struct ByNetwork<H> {
    networks: BTreeMap<IpAddr, Network<H>>,
    /// The networks with a connection that may be ended, by their number of connections. So the largest one is found without a search.
    by_size: BTreeSet<(usize, IpAddr)>,
    /// The number of connections so far.
    number: u64,
}

#[derive(Debug)]
struct Network<H> {
    /// Those that may be ended, by their numbers: the newest is the last.
    may_end: BTreeMap<u64, H>,
    /// Those that may not.
    kept: BTreeSet<u64>,
}

impl<H> Network<H> {
    fn size(&self) -> usize {
        self.may_end.len() + self.kept.len()
    }
}

impl<H> Default for Network<H> {
    fn default() -> Self {
        Self { may_end: BTreeMap::new(), kept: BTreeSet::new() }
    }
}

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
        self.change(network, |connections| connections.may_end.insert(number, handle));
        number
    }

    /// Keeps a connection from being ended.
    pub(super) fn keep(&mut self, network: IpAddr, number: u64) {
        self.change(network, |connections| {
            if connections.may_end.remove(&number).is_some() {
                connections.kept.insert(number);
            }
        });
    }

    /// Removes a connection, if it is there.
    pub(super) fn remove(&mut self, network: IpAddr, number: u64) {
        self.change(network, |connections| {
            connections.may_end.remove(&number);
            connections.kept.remove(&number);
        });
    }

    /// Removes the newest connection of the largest network, if this network then has no more than that one. So shares become equal, and
    /// networks with equal shares take nothing from each other.
    pub(super) fn remove_for(&mut self, newcomer: IpAddr) -> Option<H> {
        let size = self.size(newcomer);
        let &(largest, network) = self.by_size.last()?;
        if largest < size + 2 {
            return None;
        }
        self.change(network, |connections| connections.may_end.pop_last()).map(|(_, handle)| handle)
    }

    /// The number of connections of a network.
    pub(super) fn size(&self, network: IpAddr) -> usize {
        self.networks.get(&network).map_or(0, Network::size)
    }

    /// Changes the connections of one network.
    fn change<R>(&mut self, network: IpAddr, change: impl FnOnce(&mut Network<H>) -> R) -> R {
        let connections = self.networks.entry(network).or_default();
        self.by_size.remove(&(connections.size(), network));
        let result = change(connections);
        let size = connections.size();
        if !connections.may_end.is_empty() {
            self.by_size.insert((size, network));
        }
        if size == 0 {
            self.networks.remove(&network);
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
    fn a_connection_that_is_kept_counts_and_does_not_end() {
        let mut connections = connections(&[ONE, ONE, ONE, OTHER, OTHER]);
        connections.keep(ONE, 3);
        assert_eq!(connections.remove_for(NEW), Some(2));
        connections.keep(ONE, 1);
        assert_eq!(connections.remove_for(NEW), Some(5), "none of the other network may end");
        assert_eq!(connections.remove_for(NEW), None);
    }

    #[test]
    fn networks_without_connections_are_forgotten() {
        let mut connections = connections(&[ONE, ONE, OTHER]);
        connections.keep(ONE, 1);
        assert_eq!(connections.remove_for(NEW), Some(2));
        for (network, number) in [(ONE, 1), (ONE, 2), (OTHER, 3), (OTHER, 3), (NEW, 4)] {
            connections.remove(network, number);
        }
        assert!(connections.networks.is_empty() && connections.by_size.is_empty(), "{connections:?}");
    }
}
