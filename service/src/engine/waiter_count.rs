//! The number of acquires of this replica that wait in queues, and its limits.
//!
//! The limit of a tenant falls with the number that all tenants leave free: together they can fill the replica only if there are very
//! many of them, and none takes from all others the chance to wait.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{SeededMap, domain::Tenant};

/// A tenant may always have this part of all waiters. So few tenants can have reached their limit.
const SMALL_PART: usize = 64;

/// The number of waiters, with its limits.
#[derive(Debug)]
pub(super) struct WaiterCount {
    most: usize,
    most_per_tenant: usize,
    /// The number of all waiters.
    count: AtomicUsize,
    /// The lock is held only to count a waiter, to look at the tenants that are full, or to clone the `Arc`.
    tenants: Mutex<Tenants>,
}

#[derive(Debug, Default)]
struct Tenants {
    /// The number of waiters per tenant. Tenants without waiters have no entry.
    counts: SeededMap<Tenant, usize>,
    /// Tenants that have reached their limit.
    full: Arc<BTreeSet<Tenant>>,
}

impl WaiterCount {
    /// Starts with no waiters, and with limits for all waiters and for those of one tenant.
    pub(super) fn new(most: usize, most_per_tenant: usize) -> Self {
        Self { most, most_per_tenant, count: AtomicUsize::new(0), tenants: Mutex::default() }
    }

    /// The number of waiters.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether the limit for all waiters is reached.
    pub(super) fn is_full(&self) -> bool {
        self.count() >= self.most
    }

    /// The tenants that have reached their limit.
    pub(super) fn full_tenants(&self) -> Arc<BTreeSet<Tenant>> {
        self.tenants().full.clone()
    }

    /// Counts a new waiter.
    pub(super) fn add(&self, tenant: &Tenant) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let most = self.most_of_a_tenant();
        let mut tenants = self.tenants();
        let count = tenants.counts.entry(tenant.clone()).or_insert(0);
        *count += 1;
        if *count >= most && !tenants.full.contains(tenant) {
            Arc::make_mut(&mut tenants.full).insert(tenant.clone());
        }
    }

    /// Stops counting a waiter that has left.
    pub(super) fn remove(&self, tenant: &Tenant) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        let most = self.most_of_a_tenant();
        let mut tenants = self.tenants();
        let Tenants { counts, full } = &mut *tenants;
        let Some(count) = counts.get_mut(tenant) else { return };
        *count -= 1;
        if *count == 0 {
            counts.remove(tenant);
        }
        let is_full = |tenant: &Tenant| counts.get(tenant).is_some_and(|count| *count >= most);
        if !full.iter().all(is_full) {
            Arc::make_mut(full).retain(is_full);
        }
    }

    /// The number of waiters that a tenant may have now. A tenant alone may have `most_per_tenant`. The more others have, the fewer.
    fn most_of_a_tenant(&self) -> usize {
        let for_others = self.most.saturating_sub(self.most_per_tenant);
        if for_others == 0 {
            return self.most_per_tenant;
        }
        let free = self.most.saturating_sub(self.count());
        let most = self.most_per_tenant.saturating_mul(free) / for_others;
        most.max(self.most / SMALL_PART).clamp(1, self.most_per_tenant.max(1))
    }

    fn tenants(&self) -> MutexGuard<'_, Tenants> {
        // Each change is complete before anything can panic.
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_full_while_it_has_as_many_waiters_as_it_may_have() {
        let waiting = WaiterCount::new(3, 2);
        let (one, two) = (Tenant::trusted("one"), Tenant::trusted("two"));
        waiting.add(&one);
        assert!(waiting.full_tenants().is_empty());
        waiting.add(&one);
        assert!(waiting.full_tenants().contains(&one) && !waiting.is_full());
        waiting.add(&two);
        assert!(waiting.is_full());
        waiting.remove(&one);
        assert!(waiting.full_tenants().is_empty() && !waiting.is_full());
        waiting.remove(&one);
        waiting.remove(&two);
        assert_eq!((waiting.count(), waiting.tenants().counts.len()), (0, 0));
    }

    #[test]
    fn tenants_leave_waiters_to_others_however_many_each_of_them_may_have_alone() {
        let waiting = WaiterCount::new(1_000, 500);
        let fill = |tenant: &Tenant| {
            let mut added = 0;
            while !waiting.is_full() && !waiting.full_tenants().contains(tenant) {
                waiting.add(tenant);
                added += 1;
            }
            added
        };
        let [one, two, three] = ["one", "two", "three"].map(Tenant::trusted);
        assert_eq!([&one, &two, &three].map(fill), [500, 250, 125]);
        (0..400).for_each(|_| waiting.remove(&one));
        assert_eq!((fill(&three), fill(&one)), (200, 113));
        for tenant in (0..40).map(|number| Tenant::trusted(&number.to_string())) {
            fill(&tenant);
        }
        assert!(waiting.full_tenants().len() <= SMALL_PART);
    }
}
