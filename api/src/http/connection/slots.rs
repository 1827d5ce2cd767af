//! Slots for connections: all clients share as many as may be open.
//!
//! Where credentials are required, clients that have shown none leave a quarter of the slots to others, and a tenant leaves an eighth.
//! So nobody can keep all others from connecting. Networks that come one after the other would leave nothing to the next one without a
//! credential. So where a newcomer would be refused, a connection without a credential, or of a tenant beyond its share, ends, and the
//! newcomer gets its slot.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use db_locks_service::LogLimit;
use tokio::sync::Notify;

use super::{
    Party,
    by_source::{BySource, Source},
};
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
/// The most connections that have lost their slots and have not ended yet. Their descriptors are among those that are reserved for the
/// program.
const MOST_DISPLACED: usize = 64;

static DISPLACED: LogLimit = LogLimit::new();

impl Taker for Client {
    fn most(&self, free: usize, taken: &BTreeMap<Self, usize>) -> usize {
        let unknown = taken.get(&Self::Unknown).copied().unwrap_or_default();
        let most = match self {
            // What those without a credential have lowers the share of no tenant, while enough are free.
            Self::Tenant(_) => (7 * (free + unknown)).min(15 * free),
            Self::NewFrom(_) => free,
            Self::Unknown => OF_UNKNOWN * free,
            Self::UnknownFrom(_) => {
                // As many as it leaves to all others without a credential.
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
    unknown: Arc<Mutex<Unknown>>,
    /// Whether credentials are required. Otherwise nobody can be distinguished.
    by_client: bool,
}

/// The connections that count as without a credential.
#[derive(Debug, Default)]
struct Unknown {
    connections: BySource<Arc<Place>>,
    /// The number of connections that have lost their slots and have not ended yet.
    displaced: usize,
}

impl Slots {
    /// This many slots.
    pub(in crate::http) fn new(slots: usize, by_client: bool) -> Self {
        Self { room: SharedRoom::new(slots), unknown: Arc::default(), by_client }
    }

    /// Takes a slot for a new connection of a client with this address; `None` if it must not have one.
    pub(in crate::http) fn take(&self, party: Party, peer: IpAddr) -> Option<Arc<Slot>> {
        let network = network_of(peer);
        let (takers, source) = match party.group() {
            _ if !self.by_client => ([None, None], None),
            Some(_) => return self.take_as_unknown(network, Source::Network(network)),
            None => {
                let tenant = party.settled();
                ([Client::Tenant(tenant), Client::NewFrom(network)].map(Some), Some(Source::Tenant(tenant)))
            }
        };
        let mut share = self.room.share_of(takers);
        if share.grow_to(1) {
            return Some(Arc::new(Slot { place: Place::new(share), listed: None }));
        }
        // An address that is known is not worse off than one that is not.
        self.take_as_unknown(network, source?)
    }

    /// Takes a slot for a connection without a credential, if need be that of another one.
    fn take_as_unknown(&self, network: IpAddr, source: Source) -> Option<Arc<Slot>> {
        let takers = [Client::Unknown, Client::UnknownFrom(network)].map(Some);
        let mut share = self.room.share_of(takers.clone());
        let mut unknown = lock(&self.unknown);
        if !share.grow_to(1) {
            share = unknown.displace_for(source)?.displace(takers);
        }
        let place = Place::new(share);
        let number = unknown.connections.add(source, Arc::clone(&place));
        let listed = Listed { unknown: Arc::clone(&self.unknown), source: Mutex::new(source), number };
        Some(Arc::new(Slot { place, listed: Some(listed) }))
    }

    /// The number of free slots.
    #[cfg(test)]
    pub(in crate::http) fn free(&self) -> usize {
        self.room.free()
    }
}

impl Unknown {
    /// The connection that loses its slot to a newcomer from this source; `None` if none should.
    fn displace_for(&mut self, source: Source) -> Option<Arc<Place>> {
        if self.displaced >= MOST_DISPLACED {
            return None;
        }
        let place = self.connections.remove_for(source)?;
        self.displaced += 1;
        Some(place)
    }
}

/// The slot of a connection. It is free again on drop.
///
/// Locks are taken in this order: that of [`Unknown`], that of a place or source, that of the room.
#[derive(Debug)]
pub(in crate::http) struct Slot {
    place: Arc<Place>,
    /// For a connection that began without a credential.
    listed: Option<Listed>,
}

/// The part of a slot by which another connection may take it.
#[derive(Debug)]
struct Place {
    share: Mutex<Share<Client>>,
    displaced: Notify,
}

/// Where a connection is among those without a credential.
#[derive(Debug)]
struct Listed {
    unknown: Arc<Mutex<Unknown>>,
    source: Mutex<Source>,
    number: u64,
}

impl Place {
    fn new(share: Share<Client>) -> Arc<Self> {
        Arc::new(Self { share: Mutex::new(share), displaced: Notify::new() })
    }

    /// Ends the connection, and returns the share of the one that gets its slot.
    fn displace(&self, takers: [Option<Client>; 2]) -> Share<Client> {
        self.displaced.notify_one();
        lock(&self.share).hand_over(takers)
    }

    fn is_displaced(&self) -> bool {
        lock(&self.share).is_empty()
    }
}

impl Slot {
    /// Notes whose valid credential the connection has. If the tenant has too many, the connection still counts as without a credential, and
    /// may lose its slot to a newcomer: otherwise connections of one tenant could take all slots, those without a credential first. All such
    /// connections of a tenant are of one source: it may have them from very many networks.
    pub(super) fn set_tenant(&self, party: Party) {
        let belong = || lock(&self.place.share).belong_to([Some(Client::Tenant(party)), None]);
        let Some(Listed { unknown, source, number }) = &self.listed else {
            belong();
            return;
        };
        let (mut unknown, mut source) = (lock(unknown), lock(source));
        if belong() {
            unknown.connections.remove(*source, *number);
        } else {
            let from = std::mem::replace(&mut *source, Source::Tenant(party));
            unknown.connections.move_to(from, *number, *source);
        }
    }

    /// Completes when a newcomer has got the slot. The connection must end at once.
    pub(in crate::http) async fn until_displaced(&self) {
        self.place.displaced.notified().await;
        if let Some(left_out) = DISPLACED.pass() {
            tracing::warn!(
                left_out,
                "many connections are open; one without a credential, or of a tenant with too many, was closed for \
                 a new client"
            );
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(Listed { unknown, source, number }) = &self.listed else { return };
        let mut unknown = lock(unknown);
        if self.place.is_displaced() {
            unknown.displaced -= 1;
        } else {
            unknown.connections.remove(*lock(source), *number);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
