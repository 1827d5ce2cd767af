//! How many acquires of this replica stand in queues, and when no more may.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustc_hash::FxHashMap;

use crate::domain::Tenant;

/// The numbers of waiters, and their limits.
#[derive(Debug)]
pub(super) struct Waiting {
    most: usize,
    most_per_tenant: usize,
    /// All of them. It orders nothing.
    count: AtomicUsize,
    /// Held only to count one up or down, or to clone the `Arc`.
    tenants: Mutex<Tenants>,
}

#[derive(Debug, Default)]
struct Tenants {
    /// Those of each tenant that has any.
    counts: FxHashMap<Tenant, usize>,
    /// Tenants that may not have more.
    full: Arc<BTreeSet<Tenant>>,
}

impl Waiting {
    /// With limits for all of them, and for those of one tenant.
    pub(super) fn new(most: usize, most_per_tenant: usize) -> Self {
        Self { most, most_per_tenant, count: AtomicUsize::new(0), tenants: Mutex::default() }
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether as many wait as may.
    pub(super) fn is_full(&self) -> bool {
        self.count() >= self.most
    }

    /// Tenants of which as many wait as may.
    pub(super) fn full_tenants(&self) -> Arc<BTreeSet<Tenant>> {
        self.tenants().full.clone()
    }

    /// One more waits.
    pub(super) fn add(&self, tenant: &Tenant) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut tenants = self.tenants();
        let count = tenants.counts.entry(tenant.clone()).or_insert(0);
        *count += 1;
        if *count == self.most_per_tenant {
            Arc::make_mut(&mut tenants.full).insert(tenant.clone());
        }
    }

    /// One waits no longer.
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
        // Counts that are changed by one: a panic elsewhere leaves nothing half done.
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_full_while_as_many_of_it_wait_as_may() {
        let waiting = Waiting::new(3, 2);
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
