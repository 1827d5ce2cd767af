//! Which connections are closed when the memory of connections is full: of the tenant with the most bytes, and of its address with the
//! most, the connection with the most, and so on. So a tenant loses connections of its own, wherever it connects from, and an address with
//! many connections loses one of these, and not the one of a caller that reads a long list.
//!
//! Connections without a valid credential go first, since anybody with a network of IPv6 has very many addresses. Those with one go only if
//! the others have little together. Requests that wait for a lock count only if there is not much else: for them a client needs a
//! credential. So nobody without one can have the connections of others closed.

use std::{hash::Hash, net::IpAddr, sync::atomic::Ordering};

use db_locks_service::SeededMap;

use crate::http::connection::{Connection, Party};

/// If this part of the limit (a quarter) is of connections without a credential, no other one goes. If it is unread, requests that wait do
/// not count. As many of them as may wait by default (50,000) take less than the rest, unless their paths and tokens have kilobytes.
pub(super) const MUCH: usize = 4;

/// The memory of a connection, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// The client's address without what it can choose itself.
    network: IpAddr,
    /// Whether the connection has shown a valid credential.
    is_known: bool,
    /// The tenant of its last credential, if that was valid; otherwise the same for all.
    party: Party,
    /// Unread answers, and requests that have not begun.
    pub(super) unread: usize,
    /// Requests that have begun and have no answer.
    pub(super) waiting: usize,
}

impl Held {
    /// The memory of this connection.
    pub(super) fn by(connection: &Connection) -> Self {
        let [unread, waiting] =
            [connection.unread(), connection.waiting()].map(|bytes| bytes.load(Ordering::Relaxed));
        let network = connection.own_room().network();
        let [party, _] = connection.parties();
        let party = if party.group().is_some() { Party::UNKNOWN } else { party.settled() };
        Self { network, is_known: connection.is_known(), party, unread, waiting }
    }

    pub(super) const fn bytes(&self) -> usize {
        self.unread + self.waiting
    }

    const fn unread(&self) -> usize {
        self.unread
    }

    const fn of_unknown(&self) -> usize {
        if self.is_known { 0 } else { self.unread }
    }

    /// Those with a credential do not stand for others with the same address.
    const fn address(&self) -> (bool, Party, IpAddr) {
        (self.is_known, self.party, self.network)
    }

    const fn tenant(&self) -> (bool, Party) {
        (self.is_known, self.party)
    }
}

/// The indices of the connections to close, so that the others have at most 15/16 of `most` bytes. So it takes a while until they have too
/// many again.
pub(super) fn victims(connections: &[Held], most: usize) -> Vec<usize> {
    let room = most / 16;
    let (target, much) = (most - room, most / MUCH);
    let mut bytes: usize = connections.iter().map(Held::bytes).sum();
    let mut left: Vec<_> = (0..connections.len()).collect();
    let mut victims = Vec::new();
    for counted in [Held::of_unknown, Held::unread, Held::bytes] {
        let counted = |index: usize| counted(&connections[index]);
        let mut counts: usize = left.iter().map(|index| counted(*index)).sum();
        if bytes <= target || counts < much {
            continue;
        }
        left.sort_unstable_by_key(|index| counted(*index));
        left = ranked(left, |index| connections[index].address(), counted);
        left = ranked(left, |index| connections[index].tenant(), counted);
        while bytes > target
            && counts > much - room
            && let Some(greatest) = left.pop()
        {
            counts -= counted(greatest);
            bytes -= connections[greatest].bytes();
            victims.push(greatest);
        }
    }
    victims
}

/// These connections in the order of the bytes of their group, and otherwise as before. The last one is the first to go.
fn ranked<G: Eq + Hash>(
    connections: Vec<usize>,
    group: impl Fn(usize) -> G,
    counted: impl Fn(usize) -> usize,
) -> Vec<usize> {
    let mut by_group: SeededMap<G, usize> = SeededMap::default();
    let mut ranked: Vec<_> = connections
        .into_iter()
        .map(|index| {
            // The bytes of the group once those of its connections that rank higher have gone.
            let of_group = by_group.entry(group(index)).or_default();
            *of_group += counted(index);
            (*of_group, index)
        })
        .collect();
    ranked.sort_by_key(|(of_group, _)| *of_group);
    ranked.into_iter().map(|(_, index)| index).collect()
}
