//! The number of acquires of this replica that wait in queues, and its limits.
//!
//! The limit of a tenant falls with the number that all tenants leave free: together they can fill the replica only if there are very
//! many of them, and none takes from all others the chance to wait.
//!
//! An acquire takes room before it is decided, and is counted as a waiter when its write is durable. So the limits hold however many
//! acquires are decided in one batch, and in several shards at a time.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    SeededMap,
    domain::{Tenant, WaiterLimit, WaiterRoom},
};

/// The number of waiters, with its limits.
#[derive(Debug)]
pub(super) struct WaiterCount {
    most: usize,
    most_per_tenant: usize,
    /// The number of all waiters.
    count: AtomicUsize,
    /// The room that waiters and reservations take. The lock is held only to add and subtract.
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Tenants that take no room have no entry.
    by_tenant: SeededMap<Tenant, usize>,
}

impl Taken {
    fn add(&mut self, tenant: &Tenant, places: usize) {
        self.all += places;
        match self.by_tenant.get_mut(tenant) {
            Some(taken) => *taken += places,
            None => drop(self.by_tenant.insert(tenant.clone(), places)),
        }
    }

    fn subtract(&mut self, tenant: &Tenant, places: usize) {
        self.all -= places;
        if let Some(taken) = self.by_tenant.get_mut(tenant) {
            *taken -= places;
            if *taken == 0 {
                self.by_tenant.remove(tenant);
            }
        }
    }
}

impl WaiterCount {
    /// Starts with no waiters, and with limits for all waiters and for those of one tenant.
    pub(super) fn new(most: usize, most_per_tenant: usize) -> Self {
        Self { most, most_per_tenant, count: AtomicUsize::new(0), taken: Mutex::default() }
    }

    /// The number of waiters.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Reserves room for this number of new waiters of a tenant, or as much of it as there is. Also returns the limit that allows no
    /// more.
    pub(super) fn reserve(self: &Arc<Self>, tenant: &Tenant, wanted: usize) -> (Reservation, WaiterLimit) {
        if wanted == 0 {
            return (Reservation::default(), WaiterLimit::Tenant);
        }
        let mut taken = self.taken();
        let before = taken.by_tenant.get(tenant).copied().unwrap_or_default();
        let reached = |places| self.limit_reached(taken.all + places, before + places);
        let places = (0..wanted).find(|places| reached(*places).is_some()).unwrap_or(wanted);
        let limit = reached(places).unwrap_or(WaiterLimit::Tenant);
        if places > 0 {
            taken.add(tenant, places);
        }
        drop(taken);
        (Reservation { of: Some((Arc::clone(self), tenant.clone())), places }, limit)
    }

    /// Counts a new waiter, which takes its room from a reservation. A waiter for which no room was reserved takes more room than there
    /// may be: its place in the queue was taken over from another request of this replica, which leaves.
    pub(super) fn add(&self, tenant: &Tenant, reservation: &mut Reservation) {
        self.count.fetch_add(1, Ordering::Relaxed);
        match reservation.places.checked_sub(1) {
            Some(left) => reservation.places = left,
            None => self.taken().add(tenant, 1),
        }
    }

    /// Stops counting a waiter that has left.
    pub(super) fn remove(&self, tenant: &Tenant) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.taken().subtract(tenant, 1);
    }

    /// The limit that keeps a tenant from having another waiter, if one does. `all` and `of_tenant` say how many there are.
    fn limit_reached(&self, all: usize, of_tenant: usize) -> Option<WaiterLimit> {
        if all >= self.most {
            return Some(WaiterLimit::Replica);
        }
        (of_tenant >= self.most_of_a_tenant(all)).then_some(WaiterLimit::Tenant)
    }

    /// The number of waiters that a tenant may have while there are `all`. A tenant alone may have `most_per_tenant`. The number falls
    /// with the square of what is left: if each tenant could have as many as it leaves, ten of them, one after the other, would leave
    /// a thousandth.
    fn most_of_a_tenant(&self, all: usize) -> usize {
        let for_others = self.most.saturating_sub(self.most_per_tenant);
        if for_others == 0 {
            return self.most_per_tenant;
        }
        let free = self.most.saturating_sub(all).min(for_others);
        let part = |of: usize| of.saturating_mul(free) / for_others;
        part(part(self.most_per_tenant)).max(1)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Each change is complete before anything can panic.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The room that is taken, and the number of tenants that take some.
    #[cfg(test)]
    pub(super) fn room_taken(&self) -> (usize, usize) {
        let taken = self.taken();
        (taken.all, taken.by_tenant.len())
    }
}

/// Room for waiters that were decided, or are being decided, and that are not counted yet. It belongs to the write that puts them into
/// the queue, and is given back on drop: when the write has ended without them, or is thrown away.
#[derive(Debug, Default)]
pub(super) struct Reservation {
    /// The count, and the tenant of the waiters; `None` for a reservation that never had places.
    of: Option<(Arc<WaiterCount>, Tenant)>,
    places: usize,
}

impl Reservation {
    /// The number of waiters that there is room for.
    pub(super) const fn places(&self) -> usize {
        self.places
    }

    /// Gives back all but this number of places.
    pub(super) fn keep(&mut self, places: usize) {
        if let Some((count, tenant)) = &self.of
            && self.places > places
        {
            count.taken().subtract(tenant, self.places - places);
            self.places = places;
        }
    }

    /// Adds the places of another reservation of the same tenant.
    pub(super) fn join(&mut self, mut other: Self) {
        if self.of.is_none() {
            *self = other;
        } else {
            self.places += std::mem::take(&mut other.places);
        }
    }

    /// The room that a decision has with these places, and with those of earlier writes.
    pub(super) const fn room(&self, earlier: &Self, limit: WaiterLimit) -> WaiterRoom {
        WaiterRoom { places: self.places + earlier.places, limit }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.keep(0);
    }
}

#[cfg(test)]
mod tests;
