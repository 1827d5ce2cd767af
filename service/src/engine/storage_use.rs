//! How much each tenant stores, and who stores as much as it may.
//!
//! A replica knows what its own writes added since the tenant was last counted, and has the tenant counted again when that is
//! much: other replicas write too, and deletions are not noted. So the limit is not exact, and a tenant far below it costs
//! nothing.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustc_hash::FxHashMap;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::Shared;
use crate::domain::Tenant;

/// A tenant is counted again when it added this part of what is left to its limit, and first of its limit.
const COUNTED_AT: u64 = 16;
/// The pause between two counts.
const PAUSE: Duration = Duration::from_secs(1);
/// A tenant that stores as much as it may is counted again so often: it may have deleted something.
const AGAIN: Duration = Duration::from_secs(10);
/// No more than one part of so many of the time is spent on counting.
const PART_OF_TIME: u32 = 20;
/// The most tenants that are remembered. More are written to only where nothing tells tenants apart but what they say.
const MOST_TENANTS: usize = 10_000;

/// How much the tenants store that this replica wrote for lately.
#[derive(Debug)]
pub(super) struct StorageUse {
    /// The most bytes of a tenant.
    most: u64,
    /// The lock is held only to note a write or to clone the `Arc`.
    tenants: Mutex<Tenants>,
    /// Somebody is to be counted.
    wanted: Notify,
}

#[derive(Debug, Default)]
struct Tenants {
    uses: FxHashMap<Tenant, Use>,
    /// Tenants that store as much as they may.
    over: Arc<BTreeSet<Tenant>>,
}

/// What is known of a tenant, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    /// What was counted last; 0 if it was never counted.
    counted: u64,
    /// What this replica added since.
    added: u64,
}

impl Use {
    fn is_over(self, most: u64) -> bool {
        self.counted.saturating_add(self.added) >= most
    }

    /// Whether it is to be counted.
    fn is_due(self, most: u64) -> bool {
        self.added > most.saturating_sub(self.counted) / COUNTED_AT
    }
}

impl StorageUse {
    /// Nothing is known yet.
    pub(super) fn new(most: u64) -> Self {
        Self { most, tenants: Mutex::default(), wanted: Notify::new() }
    }

    /// Tenants that store as much as they may.
    pub(super) fn over(&self) -> Arc<BTreeSet<Tenant>> {
        self.tenants().over.clone()
    }

    /// Notes that a write added so many bytes.
    pub(super) fn add(&self, tenant: &Tenant, bytes: u64) {
        if bytes == 0 || self.most == u64::MAX {
            return;
        }
        let mut tenants = self.tenants();
        let Some(known) = tenants.of(tenant) else { return };
        known.added = known.added.saturating_add(bytes);
        let known = *known;
        if known.is_over(self.most) {
            tenants.set_over(tenant, true);
        }
        drop(tenants);
        if known.is_due(self.most) {
            self.wanted.notify_one();
        }
    }

    /// Notes a count, and what had been added when it began.
    fn note_count(&self, tenant: &Tenant, counted: u64, added: u64) {
        let mut tenants = self.tenants();
        let Some(known) = tenants.of(tenant) else { return };
        *known = Use { counted, added: known.added.saturating_sub(added) };
        let is_over = known.is_over(self.most);
        tenants.set_over(tenant, is_over);
    }

    /// The tenants that are to be counted, with what they added.
    fn due(&self) -> Vec<(Tenant, u64)> {
        let tenants = self.tenants();
        let is_due = |known: &Use| known.is_due(self.most) || known.is_over(self.most);
        let due = tenants.uses.iter().filter(|(_, known)| is_due(known));
        due.map(|(tenant, known)| (tenant.clone(), known.added)).collect()
    }

    fn tenants(&self) -> MutexGuard<'_, Tenants> {
        // Each change is complete before anything can panic.
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tenants {
    /// What is known of a tenant; `None` where nothing more can be remembered.
    fn of(&mut self, tenant: &Tenant) -> Option<&mut Use> {
        if !self.uses.contains_key(tenant) && self.uses.len() >= MOST_TENANTS {
            let over = self.over.clone();
            self.uses.retain(|tenant, _| over.contains(tenant));
            if self.uses.len() >= MOST_TENANTS {
                return None;
            }
        }
        Some(self.uses.entry(tenant.clone()).or_default())
    }

    fn set_over(&mut self, tenant: &Tenant, is_over: bool) {
        if self.over.contains(tenant) == is_over {
            return;
        }
        let over = Arc::make_mut(&mut self.over);
        if is_over {
            over.insert(tenant.clone());
            tracing::warn!(
                tenant = tenant.as_str(),
                "the tenant stores as much as it may; nothing more is created for it"
            );
        } else {
            over.remove(tenant);
        }
    }
}

/// Counts the tenants that are due, again and again. Never returns.
pub(super) async fn count_when_wanted(shared: Arc<Shared>) {
    loop {
        // Who is over is counted again without being asked to.
        let _ = timeout(AGAIN, shared.storage.wanted.notified()).await;
        let begun = Instant::now();
        for (tenant, added) in shared.storage.due() {
            match shared.store.stored_bytes(&tenant).await {
                Ok(counted) => shared.storage.note_count(&tenant, counted, added),
                Err(error) => shared.report_outage(&error),
            }
        }
        sleep(PAUSE.max(begun.elapsed() * PART_OF_TIME)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_over_from_its_limit_on_and_until_less_is_counted() {
        let storage = StorageUse::new(1_000);
        let (one, two) = (Tenant::trusted("one"), Tenant::trusted("two"));
        storage.add(&one, 60);
        assert!(storage.due().is_empty() && storage.over().is_empty(), "far below it nothing is counted");
        storage.add(&one, 10);
        assert_eq!(storage.due(), [(one.clone(), 70)]);
        storage.add(&one, 5);
        storage.note_count(&one, 990, 70);
        assert!(storage.over().is_empty());
        storage.add(&one, 5);
        assert!(storage.over().contains(&one) && !storage.over().contains(&two));
        storage.note_count(&one, 999, 10);
        assert!(storage.over().is_empty(), "something was deleted");
    }

    #[test]
    fn of_very_many_tenants_those_are_remembered_that_are_over() {
        let storage = StorageUse::new(1_000);
        let over = Tenant::trusted("over");
        storage.add(&over, 1_000);
        for number in 0..=MOST_TENANTS {
            storage.add(&Tenant::trusted(&number.to_string()), 1);
        }
        assert!(storage.over().contains(&over));
        assert!(storage.tenants().uses.len() <= MOST_TENANTS);
    }
}
