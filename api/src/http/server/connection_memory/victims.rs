//! Which connections are closed when the memory of connections is full: of the address with the most bytes, the connection with the most,
//! and so on. So an address with many connections loses its own, and not the one of a caller that reads a long list.
//!
//! Connections without a valid credential go first, since anybody with a network of IPv6 has very many addresses. Those with one go only if
//! the others have little together. Requests that wait for a lock count only if there is not much else: for them a client needs a
//! credential. So nobody without one can have the connections of others closed.

use std::{hash::Hash, net::IpAddr, sync::atomic::Ordering};

use db_locks_service::SeededMap;

use crate::http::connection::Connection;

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
        Self { network, is_known: connection.is_known(), unread, waiting }
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
    const fn address(&self) -> (bool, IpAddr) {
        (self.is_known, self.network)
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
        left = ranked(left, |index| connections[index].address(), counted);
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

/// These connections in the order of the bytes of their address, then of their own. The last one is the first to go.
fn ranked<A: Eq + Hash>(
    mut connections: Vec<usize>,
    address: impl Fn(usize) -> A,
    counted: impl Fn(usize) -> usize,
) -> Vec<usize> {
    connections.sort_unstable_by_key(|index| counted(*index));
    let mut by_address: SeededMap<A, usize> = SeededMap::default();
    let mut ranked: Vec<_> = connections
        .into_iter()
        .map(|index| {
            // The bytes of the address once its greater connections have gone.
            let of_address = by_address.entry(address(index)).or_default();
            *of_address += counted(index);
            (*of_address, counted(index), index)
        })
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(.., index)| index).collect()
}
