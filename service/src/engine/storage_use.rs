//! Bytes that each tenant stores, and the tenants that have reached their limit.
//!
//! A replica knows how many bytes its own writes added since a tenant was last counted. When that is much, the tenant
//! is counted again, because other replicas write too and deletions are not noted. So the limit is not exact, and a
//! tenant far below it causes no work.
//!
//! A count of much data takes long. So each tenant has a pause of its own after a count, and those that added much and
//! those at their limit are counted in turn: tenants at their limit, which are counted for ever, delay no other count.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

use super::Shared;
use crate::{SeededMap, domain::Tenant, log_limit::LogLimit, store::StoreError};

/// A tenant is counted again when it added more than the bytes left to its limit, divided by this.
const COUNTED_AT: u64 = 16;
/// The shortest pause between two counts of a tenant.
const PAUSE: Duration = Duration::from_secs(1);
/// How much later a tenant at its limit that added nothing is counted again: it may have deleted something.
const RECOUNT_AFTER: Duration = Duration::from_secs(10);
/// The pause of a tenant is at least the duration of its last count times this.
const PAUSE_FACTOR: u32 = 20;
/// How often the pause of a tenant is doubled while its counts fail.
const MOST_DOUBLINGS: u32 = 4;
/// The maximum number of remembered tenants. More appear only without authentication, where callers may name any
/// tenant.
const MOST_TENANTS: usize = 10_000;

/// The bytes stored by the tenants that this replica wrote for lately.
#[derive(Debug)]
pub(super) struct StorageUse {
    /// The maximum number of bytes of a tenant.
    most: u64,
    /// The lock is held only to note a write, to find the next tenant to count, or to clone the `Arc`.
    tenants: Mutex<Tenants>,
    /// Notified when a tenant is due to be counted.
    wanted: Notify,
}

#[derive(Debug, Default)]
struct Tenants {
    uses: SeededMap<Tenant, TenantUse>,
    /// Tenants that have reached their limit.
    over: Arc<BTreeSet<Tenant>>,
    /// The cause of the last count.
    last: Option<Cause>,
}

/// Why a tenant is due to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The tenant added much since its last count.
    Added,
    /// The tenant is at its limit, and may have deleted something.
    AtLimit,
}

/// The known use of a tenant, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct TenantUse {
    /// The result of the last count; 0 if the tenant was never counted.
    counted: u64,
    /// The bytes that this replica added since the last count.
    added: u64,
    /// The end of the pause after the last count; `None` if the tenant was never counted.
    paused_until: Option<Instant>,
    /// The number of counts that failed since the last good one.
    failed: u32,
}

impl TenantUse {
    fn is_over(self, most: u64) -> bool {
        self.counted.saturating_add(self.added) >= most
    }

    /// Whether the tenant has added much since its last count.
    fn has_added_much(self, most: u64) -> bool {
        self.added > most.saturating_sub(self.counted) / COUNTED_AT
    }

    /// Why the tenant is due to be counted, and since when; `None` for the time if it was never counted.
    fn due(self, most: u64) -> Option<(Cause, Option<Instant>)> {
        if self.has_added_much(most) {
            Some((Cause::Added, self.paused_until))
        } else if self.is_over(most) {
            Some((Cause::AtLimit, self.paused_until.map(|at| at + RECOUNT_AFTER)))
        } else {
            None
        }
    }

    /// Begins the pause after a count that took this long.
    fn pause(&mut self, took: Duration, now: Instant) {
        let pause = PAUSE.max(took * PAUSE_FACTOR) * 2u32.pow(self.failed.min(MOST_DOUBLINGS));
        self.paused_until = Some(now + pause);
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
        let has_paused = || known.paused_until.is_none_or(|until| until <= Instant::now());
        if known.has_added_much(self.most) && has_paused() {
            self.wanted.notify_one();
        }
    }

    /// Notes the result of a count that took this long. `added` is the number of added bytes that were noted when the
    /// count began.
    fn note_count(&self, tenant: &Tenant, counted: u64, added: u64, took: Duration, now: Instant) {
        let mut tenants = self.tenants();
        let Some(known) = tenants.of(tenant) else { return };
        *known = TenantUse { counted, added: known.added.saturating_sub(added), ..TenantUse::default() };
        known.pause(took, now);
        let is_over = known.is_over(self.most);
        tenants.set_over(tenant, is_over);
    }

    /// Notes that a count failed after this time.
    fn note_failure(&self, tenant: &Tenant, took: Duration, now: Instant) {
        let mut tenants = self.tenants();
        let Some(known) = tenants.of(tenant) else { return };
        known.failed = known.failed.saturating_add(1);
        known.pause(took, now);
    }

    /// The next tenant to count, with the bytes that it added. The causes take turns, and of each the tenant goes first
    /// that has been due for the longest time.
    fn next(&self, now: Instant) -> Option<(Tenant, u64)> {
        let mut tenants = self.tenants();
        let last = tenants.last;
        let (cause, tenant, added) = tenants
            .uses
            .iter()
            .filter_map(|(tenant, known)| {
                let (cause, since) = known.due(self.most)?;
                let is_due = since <= Some(now);
                is_due.then_some(((Some(cause) == last, since), (cause, tenant, known.added)))
            })
            .min_by_key(|(order, _)| *order)
            .map(|(_, (cause, tenant, added))| (cause, tenant.clone(), added))?;
        tenants.last = Some(cause);
        drop(tenants);
        Some((tenant, added))
    }

    /// When the next tenant is due by what is known now; `None` if none will be.
    fn next_at(&self) -> Option<Instant> {
        let tenants = self.tenants();
        tenants.uses.values().filter_map(|known| known.due(self.most)?.1).min()
    }

    /// When to look for a tenant to count again. A tenant that reaches its limit during its pause does not say so.
    fn next_look(&self, now: Instant) -> Instant {
        let latest = now + RECOUNT_AFTER;
        self.next_at().map_or(latest, |at| at.min(latest))
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

/// Counts the tenants that are due, in a loop. Never returns. At least half of the time the database has a rest.
pub(super) async fn count_when_wanted(shared: Arc<Shared>) {
    let storage = &shared.storage;
    loop {
        let begun = Instant::now();
        if let Some((tenant, added)) = storage.next(begun) {
            let result = shared.store.stored_bytes(&tenant).await;
            let (took, now) = (begun.elapsed(), Instant::now());
            match result {
                Ok(counted) => storage.note_count(&tenant, counted, added, took, now),
                Err(error) => {
                    // No outage: a tenant may have more rows than the database counts in the time for a statement.
                    log_failure(&tenant, &error);
                    storage.note_failure(&tenant, took, now);
                }
            }
            sleep(took).await;
        } else {
            let _ = timeout_at(storage.next_look(begun), storage.wanted.notified()).await;
        }
    }
}

fn log_failure(tenant: &Tenant, error: &StoreError) {
    static LIMIT: LogLimit = LogLimit::new();
    if let Some(left_out) = LIMIT.pass() {
        tracing::warn!(
            tenant = tenant.as_str(),
            error = error as &dyn std::error::Error,
            left_out,
            "the storage of a tenant could not be counted; what it has deleted does not count until the next try"
        );
    }
}

#[cfg(test)]
mod tests;
