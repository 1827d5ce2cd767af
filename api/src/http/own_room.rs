//! The room that each connection has for itself.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The room of a connection for one small request whose body has arrived in part, in the request's extensions. Further requests of the
/// connection take room that all connections share.
#[derive(Debug, Clone)]
pub(crate) struct OwnRoom {
    one: Arc<Semaphore>,
    network: IpAddr,
}

impl OwnRoom {
    /// The room of a connection of the client with this address.
    pub(crate) fn of(peer: IpAddr) -> Self {
        Self { one: Arc::new(Semaphore::new(1)), network: network_of(peer) }
    }

    /// Takes the room until the returned value is dropped; `None` if another request of the connection has it.
    pub(crate) fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.one).try_acquire_owned().ok()
    }

    /// The client's address without what it can choose itself.
    pub(crate) const fn network(&self) -> IpAddr {
        self.network
    }
}

/// The address of a client without what it can choose itself: a client with IPv6 often has a network of 56 bits.
pub(super) fn network_of(peer: IpAddr) -> IpAddr {
    const NETWORK: u128 = u128::MAX << 72;
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
        address @ IpAddr::V4(_) => address,
    }
}
