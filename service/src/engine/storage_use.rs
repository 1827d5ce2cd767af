//! Bytes that each tenant stores, and the tenants that have reached their limit.
//!
//! A replica knows how many bytes its own writes added since a tenant was last counted. When that is much, the tenant
//! is counted again, because other replicas write too and deletions are not noted. So the limit is not exact, and a
//! tenant far below it causes no work.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::Shared;
use crate::{SeededMap, domain::Tenant};

/// A tenant is counted again when it added more than the bytes left to its limit, divided by this.
const COUNTED_AT: u64 = 16;
/// The pause between two counts.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a tenant at its limit is counted again: it may have deleted something.
const RECOUNT_AFTER: Duration = Duration::from_secs(10);
/// The pause after a count is at least the duration of the count times this.
const PAUSE_FACTOR: u32 = 20;
/// The maximum number of remembered tenants. More appear only without authentication, where callers may name any
/// tenant.
const MOST_TENANTS: usize = 10_000;

/// The bytes stored by the tenants that this replica wrote for lately.
#[derive(Debug)]
pub(super) struct StorageUse {
    /// The maximum number of bytes of a tenant.
    most: u64,
    /// The lock is held only to note a write or to clone the `Arc`.
    tenants: Mutex<Tenants>,
    /// Notified when a tenant is due to be counted.
    wanted: Notify,
}

#[derive(Debug, Default)]
struct Tenants {
    uses: SeededMap<Tenant, TenantUse>,
    /// Tenants that have reached their limit.
    over: Arc<BTreeSet<Tenant>>,
}

/// The known use of a tenant, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct TenantUse {
    /// The result of the last count; 0 if the tenant was never counted.
    counted: u64,
    /// The bytes that this replica added since the last count.
    added: u64,
}

impl TenantUse {
    fn is_over(self, most: u64) -> bool {
        self.counted.saturating_add(self.added) >= most
    }

    /// Whether the tenant is due to be counted.
    fn is_due(self, most: u64) -> bool {
        self.added > most.saturating_sub(self.counted) / COUNTED_AT
    }
}

impl StorageUse {
    /// Starts with no tenants known, and with a limit of `most` bytes for each.
    pub(super) fn new(most: u64) -> Self {
        Self { most, tenants: Mutex::default(), wanted: Notify::new() }
    }

    /// The tenants that have reached their limit.
    pub(super) fn over(&self) -> Arc<BTreeSet<Tenant>> {
        self.tenants().over.clone()
    }

    /// Notes that a write added this many bytes.
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

    /// Notes the result of a count. `added` is the number of added bytes that were noted when the count began.
    fn note_count(&self, tenant: &Tenant, counted: u64, added: u64) {
        let mut tenants = self.tenants();
        let Some(known) = tenants.of(tenant) else { return };
        *known = TenantUse { counted, added: known.added.saturating_sub(added) };
        let is_over = known.is_over(self.most);
        tenants.set_over(tenant, is_over);
    }

    /// The tenants that are due to be counted, with the bytes that they added.
    fn due(&self) -> Vec<(Tenant, u64)> {
        let tenants = self.tenants();
        let is_due = |known: &TenantUse| known.is_due(self.most) || known.is_over(self.most);
        let due = tenants.uses.iter().filter(|(_, known)| is_due(known));
        due.map(|(tenant, known)| (tenant.clone(), known.added)).collect()
    }

    fn tenants(&self) -> MutexGuard<'_, Tenants> {
        // Each change is complete before anything can panic.
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tenants {
    /// The known use of a tenant; `None` if no more tenants can be remembered.
    fn of(&mut self, tenant: &Tenant) -> Option<&mut TenantUse> {
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
                "the tenant has reached its storage limit; requests that would store more are refused"
            );
        } else {
            over.remove(tenant);
        }
    }
}

/// Counts the tenants that are due, in a loop. Never returns.
pub(super) async fn count_when_wanted(shared: Arc<Shared>) {
    loop {
        // Tenants at their limit are counted again even if nothing was written.
        let _ = timeout(RECOUNT_AFTER, shared.storage.wanted.notified()).await;
        let begun = Instant::now();
        for (tenant, added) in shared.storage.due() {
            match shared.store.stored_bytes(&tenant).await {
                Ok(counted) => shared.storage.note_count(&tenant, counted, added),
                Err(error) => shared.report_outage(&error),
            }
        }
        sleep(PAUSE.max(begun.elapsed() * PAUSE_FACTOR)).await;
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
    fn of_too_many_tenants_those_at_their_limit_are_remembered() {
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
