//! Room that all callers share: for bodies of requests that have arrived in part, for large answers that are being sent, and for
//! connections.
//!
//! A tenant may take at most as much as it leaves free, so one that takes all that it may gets half of the room. Tenants that come one after
//! the other each get half of what is left: two of them have three quarters, and ten leave a thousandth. If two take their shares at the
//! same time, they have two thirds. An address may take at most four times as much as it leaves free: without authentication a
//! client may name any tenant, while many tenants may come from the address of one proxy.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use db_locks_service::domain::Tenant;

/// Somebody who takes room.
pub(crate) trait Taker: Clone + Ord {
    /// The most units that it may have while `free` units are left. `taken` says what others have.
    fn most(&self, free: usize, taken: &BTreeMap<Self, usize>) -> usize;
}

/// The caller of a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    Tenant(Tenant),
    Address(IpAddr),
}

impl Taker for Caller {
    fn most(&self, free: usize, _: &BTreeMap<Self, usize>) -> usize {
        match self {
            Self::Tenant(_) => free,
            Self::Address(_) => 4 * free,
        }
    }
}

/// Room that all takers share, in units.
#[derive(Debug)]
pub(crate) struct SharedRoom<T: Taker = Caller>(Arc<Mutex<State<T>>>);

impl<T: Taker> Clone for SharedRoom<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct State<T> {
    free: usize,
    /// The units that each one has. Those without any are not in the map, so the room bounds it.
    taken: BTreeMap<T, usize>,
}

impl<T: Taker> State<T> {
    /// Whether these may take more units, which leave `free` units.
    fn may_take(&self, takers: &[Option<T>], units: usize, free: usize) -> bool {
        takers.iter().flatten().all(|taker| {
            let before = self.taken.get(taker).copied().unwrap_or_default();
            before + units <= taker.most(free, &self.taken)
        })
    }

    /// Notes that these take more units.
    fn give(&mut self, takers: &[Option<T>], units: usize) {
        for taker in takers.iter().flatten() {
            *self.taken.entry(taker.clone()).or_default() += units;
        }
    }

    /// Notes that these have given units back.
    fn take_back(&mut self, takers: &[Option<T>], units: usize) {
        for taker in takers.iter().flatten() {
            if let Some(taken) = self.taken.get_mut(taker) {
                *taken -= units;
                if *taken == 0 {
                    self.taken.remove(taker);
                }
            }
        }
    }
}

impl SharedRoom {
    /// The share of a request or an answer, which has no room yet.
    pub(crate) fn share(&self, tenant: Option<&Tenant>, address: Option<IpAddr>) -> Share {
        self.share_of([tenant.cloned().map(Caller::Tenant), address.map(Caller::Address)])
    }
}

impl<T: Taker> SharedRoom<T> {
    /// Room of this many units.
    pub(crate) fn new(units: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: units, taken: BTreeMap::new() })))
    }

    /// A share that counts for all of these takers, and has no room yet.
    pub(crate) fn share_of(&self, takers: [Option<T>; 2]) -> Share<T> {
        Share { room: self.clone(), takers, units: 0 }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The free units.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.state().free
    }
}

/// The share of one request, answer or connection. It is given back on drop.
#[derive(Debug)]
pub(crate) struct Share<T: Taker = Caller> {
    room: SharedRoom<T>,
    takers: [Option<T>; 2],
    units: usize,
}

impl<T: Taker> Share<T> {
    /// Takes more room, so that the share has at least this many units. Returns whether there is so much room.
    #[must_use]
    pub(crate) fn grow_to(&mut self, units: usize) -> bool {
        let more = units.saturating_sub(self.units);
        if more == 0 {
            return true;
        }
        let mut state = self.room.state();
        let Some(free) = state.free.checked_sub(more) else { return false };
        if !state.may_take(&self.takers, more, free) {
            return false;
        }
        state.free = free;
        state.give(&self.takers, more);
        self.units += more;
        true
    }

    /// Counts for other takers from now on, unless they have too much already. Returns whether it does. A share without room stays as it is.
    pub(crate) fn belong_to(&mut self, takers: [Option<T>; 2]) -> bool {
        if self.units == 0 {
            return false;
        }
        let mut state = self.room.state();
        state.take_back(&self.takers, self.units);
        let may_take = state.may_take(&takers, self.units, state.free);
        if may_take {
            self.takers = takers;
        }
        state.give(&self.takers, self.units);
        may_take
    }

    /// Gives all of its room to a new share, which counts for these takers, however much they have.
    pub(crate) fn hand_over(&mut self, takers: [Option<T>; 2]) -> Self {
        let units = std::mem::take(&mut self.units);
        let mut state = self.room.state();
        state.take_back(&self.takers, units);
        state.give(&takers, units);
        drop(state);
        Self { room: self.room.clone(), takers, units }
    }

    /// Whether it has no room: none yet, or none any more.
    pub(crate) const fn is_empty(&self) -> bool {
        self.units == 0
    }
}

impl<T: Taker> Drop for Share<T> {
    fn drop(&mut self) {
        if self.units == 0 {
            return;
        }
        let mut state = self.room.state();
        state.free += self.units;
        state.take_back(&self.takers, self.units);
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

    #[test]
    fn a_share_whose_room_was_handed_over_takes_no_part_any_more() {
        let room = SharedRoom::new(100);
        let takers = |tenant| [Tenant::new(tenant).ok().map(Caller::Tenant), None];
        let mut first = room.share_of(takers("a"));
        assert!(first.grow_to(10));
        let second = first.hand_over(takers("b"));
        assert!(first.is_empty() && !first.belong_to(takers("c")));
        assert_eq!((second.units, room.free()), (10, 90));
        assert_eq!(room.state().taken.keys().cloned().map(Some).collect::<Vec<_>>(), takers("b")[..1]);
        drop((first, second));
        assert_eq!(room.free(), 100);
        assert!(room.state().taken.is_empty());
    }
}
