//! Connections that count as without a credential, by their sources: finds the one that ends for a newcomer.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::Party;

/// Where connections come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// A network, for those without a credential.
    Network(IpAddr),
    /// A tenant, for those beyond its share. It may have them from as many networks as it likes.
    Tenant(Party),
}

/// The connections, each with a handle by which it can be ended.
#[derive(Debug)]
pub(super) struct BySource<H> {
    sources: BTreeMap<Source, Connections<H>>,
    /// The networks, and the tenants, by their number of connections. So the largest one is found without a search.
    networks: BTreeSet<(usize, Source)>,
    tenants: BTreeSet<(usize, Source)>,
    /// The number of connections of all networks.
    of_networks: usize,
    /// The number of connections so far.
    number: u64,
}

/// The connections of one source by their numbers: the newest is the last.
type Connections<H> = BTreeMap<u64, H>;

impl<H> Default for BySource<H> {
    fn default() -> Self {
        Self {
            sources: BTreeMap::new(),
            networks: BTreeSet::new(),
            tenants: BTreeSet::new(),
            of_networks: 0,
            number: 0,
        }
    }
}

impl<H> BySource<H> {
    /// Adds a connection, and returns its number.
    pub(super) fn add(&mut self, source: Source, handle: H) -> u64 {
        self.number += 1;
        let number = self.number;
        self.change(source, |connections| connections.insert(number, handle));
        number
    }

    /// Removes a connection, if it is there.
    pub(super) fn remove(&mut self, source: Source, number: u64) -> Option<H> {
        self.change(source, |connections| connections.remove(&number))
    }

    /// Counts a connection for another source, if it is there.
    pub(super) fn move_to(&mut self, from: Source, number: u64, to: Source) {
        if let Some(handle) = self.remove(from, number) {
            self.change(to, |connections| connections.insert(number, handle));
        }
    }

    /// Removes the connection that ends for a newcomer: the newest one of the largest source, if that one then has no fewer than the
    /// newcomer's. So shares become equal, and equal ones take nothing from each other. All networks together have the share of one tenant,
    /// and share it in the same way: otherwise very many networks would leave nothing to clients of tenants.
    pub(super) fn remove_for(&mut self, newcomer: Source) -> Option<H> {
        let (of_tenant, tenant) = self.tenants.last().copied().unwrap_or((0, newcomer));
        let (of_network, network) = self.networks.last().copied().unwrap_or((0, newcomer));
        let is_network = matches!(newcomer, Source::Network(_));
        let own = if is_network { self.of_networks } else { self.size(newcomer) };
        let loser = if of_tenant.max(self.of_networks) >= own + 2 {
            if of_tenant > self.of_networks { tenant } else { network }
        } else if is_network && of_network >= self.size(newcomer) + 2 {
            network
        } else {
            return None;
        };
        self.change(loser, BTreeMap::pop_last).map(|(_, handle)| handle)
    }

    /// The number of connections of a source.
    pub(super) fn size(&self, source: Source) -> usize {
        self.sources.get(&source).map_or(0, BTreeMap::len)
    }

    /// Changes the connections of one source.
    fn change<R>(&mut self, source: Source, change: impl FnOnce(&mut Connections<H>) -> R) -> R {
        let connections = self.sources.entry(source).or_default();
        let before = connections.len();
        let result = change(connections);
        let size = connections.len();
        if size == 0 {
            self.sources.remove(&source);
        }
        let by_size = match source {
            Source::Network(_) => {
                self.of_networks = self.of_networks - before + size;
                &mut self.networks
            }
            Source::Tenant(_) => &mut self.tenants,
        };
        by_size.remove(&(before, source));
        if size > 0 {
            by_size.insert((size, source));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ONE: Source = Source::Network(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    const OTHER: Source = Source::Network(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)));
    const NEW: Source = Source::Network(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3)));
    const TENANT: Source = Source::Tenant(Party::for_test(1));

    /// Connections from these sources, whose handles are their numbers.
    fn connections(of: &[Source]) -> BySource<u64> {
        let mut connections = BySource::default();
        for (source, number) in of.iter().zip(1..) {
            assert_eq!(connections.add(*source, number), number);
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
    fn those_of_a_tenant_are_of_one_source_whatever_their_networks() {
        let mut connections = connections(&[ONE, OTHER]);
        connections.move_to(ONE, 1, TENANT);
        connections.move_to(OTHER, 2, TENANT);
        connections.move_to(OTHER, 2, TENANT);
        assert_eq!([ONE, OTHER, TENANT].map(|source| connections.size(source)), [0, 0, 2]);
        assert_eq!(connections.remove_for(NEW), Some(2));
    }

    #[test]
    fn all_networks_together_have_the_share_of_a_tenant() {
        let network = |number| Source::Network(Ipv4Addr::from_bits(number).into());
        let mut connections = BySource::default();
        for number in 0..90 {
            connections.add(network(number), ());
        }
        for _ in 0..2 {
            for source in [TENANT, Source::Tenant(Party::for_test(2))] {
                while connections.remove_for(source).is_some() {
                    connections.add(source, ());
                }
            }
        }
        let shares = |connections: &BySource<()>| {
            [
                connections.of_networks,
                connections.size(TENANT),
                connections.size(Source::Tenant(Party::for_test(2))),
            ]
        };
        assert_eq!(shares(&connections), [30; 3]);
        (90..200).for_each(|number| assert!(connections.remove_for(network(number)).is_none()));
    }

    #[test]
    fn networks_without_connections_are_forgotten() {
        let mut connections = connections(&[ONE, ONE, OTHER]);
        assert_eq!(connections.remove_for(NEW), Some(2));
        for (source, number) in [(ONE, 1), (ONE, 2), (OTHER, 3), (OTHER, 3), (NEW, 4)] {
            connections.remove(source, number);
        }
        assert!(connections.sources.is_empty() && connections.networks.is_empty(), "{connections:?}");
    }
}
