//! Room in memory that all callers share: for bodies of requests that have arrived in part, and for large answers that are being sent.
//!
//! A tenant may take at most as much as it leaves free, so one that takes all that it may gets half of the room, two of them get two
//! thirds, and so on. Others always find room. An address may take at most four times as much as it leaves free: without authentication a
//! client may name any tenant, while many tenants may come from the address of one proxy.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use db_locks_service::domain::Tenant;

/// Somebody who takes room.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Taker {
    Tenant(Tenant),
    Address(IpAddr),
}

impl Taker {
    /// The most units that it may have while `free` units are left.
    const fn most(&self, free: usize) -> usize {
        match self {
            Self::Tenant(_) => free,
            Self::Address(_) => 4 * free,
        }
    }
}

/// Room that all callers share, in units.
#[derive(Debug, Clone)]
pub(crate) struct SharedRoom(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// The units that each one has. Those without any are not in the map, so the room bounds it.
    taken: BTreeMap<Taker, usize>,
}

impl SharedRoom {
    /// Room of this many units.
    pub(crate) fn new(units: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: units, taken: BTreeMap::new() })))
    }

    /// The share of a request or an answer, which has no room yet.
    pub(crate) fn share(&self, tenant: Option<&Tenant>, address: Option<IpAddr>) -> Share {
        let takers = [tenant.cloned().map(Taker::Tenant), address.map(Taker::Address)];
        Share { room: self.clone(), takers, units: 0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The free units.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.state().free
    }
}

/// The share of one request or answer. It is given back on drop.
#[derive(Debug)]
pub(crate) struct Share {
    room: SharedRoom,
    takers: [Option<Taker>; 2],
    units: usize,
}

impl Share {
    /// Takes more room, so that the share has at least this many units. Returns whether there is so much room.
    #[must_use]
    pub(crate) fn grow_to(&mut self, units: usize) -> bool {
        let more = units.saturating_sub(self.units);
        if more == 0 {
            return true;
        }
        let mut state = self.room.state();
        let Some(free) = state.free.checked_sub(more) else { return false };
        let has_too_much =
            |taker: &Taker| state.taken.get(taker).copied().unwrap_or_default() + more > taker.most(free);
        if self.takers.iter().flatten().any(has_too_much) {
            return false;
        }
        state.free = free;
        for taker in self.takers.iter().flatten() {
            *state.taken.entry(taker.clone()).or_default() += more;
        }
        self.units += more;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.units == 0 {
            return;
        }
        let mut state = self.room.state();
        state.free += self.units;
        for taker in self.takers.iter().flatten() {
            if let Some(taken) = state.taken.get_mut(taker) {
                *taken -= self.units;
                if *taken == 0 {
                    state.taken.remove(taker);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes one unit after the other, as far as this caller may.
    fn fill(room: &SharedRoom, tenant: &str, address: &str) -> Share {
        let mut share = room.share(Tenant::new(tenant).ok().as_ref(), address.parse().ok());
        while share.grow_to(share.units + 1) {}
        share
    }

    #[test]
    fn each_tenant_takes_at_most_as_much_as_it_leaves_free() {
        let room = SharedRoom::new(1_200);
        let first = fill(&room, "a", "192.0.2.1");
        assert_eq!(first.units, 600);
        assert_eq!(fill(&room, "a", "192.0.2.2").units, 0, "from wherever it comes");
        assert_eq!(fill(&room, "b", "192.0.2.1").units, 300);
        let second = fill(&room, "b", "192.0.2.2");
        assert_eq!((second.units, fill(&room, "c", "192.0.2.3").units), (300, 150));
        drop(first);
        assert_eq!(fill(&room, "a", "192.0.2.1").units, 450);
        drop(second);
        assert_eq!(room.free(), 1_200);
        assert!(room.state().taken.is_empty(), "nobody is remembered who has nothing");
    }

    /// Without authentication a client may name any tenant.
    #[test]
    fn an_address_with_many_tenants_leaves_room_for_others() {
        let room = SharedRoom::new(1_000);
        let names: Vec<_> = (0..100).map(|number| format!("t{number}")).collect();
        let shares: Vec<_> = names.iter().map(|name| fill(&room, name, "192.0.2.1")).collect();
        assert_eq!(shares.iter().map(|share| share.units).sum::<usize>(), 800);
        assert_eq!(fill(&room, "other", "192.0.2.2").units, 100);
    }

    #[test]
    fn a_share_grows_whole_or_not_at_all() {
        let room = SharedRoom::new(100);
        let mut share = room.share(Tenant::new("a").ok().as_ref(), None);
        assert!(!share.grow_to(51) && !share.grow_to(101));
        assert_eq!((share.units, room.free()), (0, 100));
        assert!(share.grow_to(50) && share.grow_to(20));
        assert_eq!((share.units, room.free()), (50, 50));
    }
}
