//! The number of acquires of this replica that wait in queues, and its limits.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{SeededMap, domain::Tenant};

/// The number of waiters, with its limits.
#[derive(Debug)]
pub(super) struct WaiterCount {
    most: usize,
    most_per_tenant: usize,
    /// The number of all waiters.
    count: AtomicUsize,
    /// The lock is held only to count a waiter or to clone the `Arc`.
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
        let mut tenants = self.tenants();
        let count = tenants.counts.entry(tenant.clone()).or_insert(0);
        *count += 1;
        if *count == self.most_per_tenant {
            Arc::make_mut(&mut tenants.full).insert(tenant.clone());
        }
    }

    /// Stops counting a waiter that has left.
    pub(super) fn remove(&self, tenant: &Tenant) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        let mut tenants = self.tenants();
        let Some(count) = tenants.counts.get_mut(tenant) else { return };
        *count -= 1;
        let left = *count;
        if left == 0 {
            tenants.counts.remove(tenant);
        }
        if left + 1 == self.most_per_tenant {
            Arc::make_mut(&mut tenants.full).remove(tenant);
        }
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
        assert!(waiting.is_full() && !waiting.full_tenants().contains(&two));
        waiting.remove(&one);
        assert!(waiting.full_tenants().is_empty() && !waiting.is_full());
        waiting.remove(&one);
        waiting.remove(&two);
        assert_eq!((waiting.count(), waiting.tenants().counts.len()), (0, 0));
    }
}
