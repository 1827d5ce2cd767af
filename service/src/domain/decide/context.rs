//! What decisions depend on.

use std::{collections::BTreeSet, sync::Arc};

use super::outcome::Need;
use crate::domain::{Epoch, Now, ReplicaId, Tenant, WaiterLimit};

/// What a decision depends on besides the command and the state of its key. All decisions of a batch share one.
#[derive(Debug, Clone)]
pub struct Context {
    /// The database's time.
    pub now: Now,
    /// The epoch whose tokens are granted.
    pub epoch: Epoch,
    /// The identity of this replica while the other replicas know it. Required for commands that wait.
    pub me: Option<ReplicaId>,
    /// Whether this replica is about to leave the others: it serves its waiters and accepts no new ones.
    pub is_leaving: bool,
    /// Replicas that are known to be dead.
    pub dead: Arc<BTreeSet<ReplicaId>>,
    /// Replicas that did not claim an offer in time, until it is known whether they are dead: nothing is offered to them.
    pub suspects: Arc<BTreeSet<ReplicaId>>,
    /// The maximum number of waiters of one key.
    pub max_waiters_per_key: i64,
    /// Whether this replica has as many waiters as it may have.
    pub is_full: bool,
    /// Whether it is listed what a change grants and ends.
    pub lists_changes: bool,
    /// Tenants that have as many waiters at this replica as they may have.
    pub full_tenants: Arc<BTreeSet<Tenant>>,
    /// Tenants that store as much as they may.
    pub over_storage: Arc<BTreeSet<Tenant>>,
}

impl Context {
    /// The identity under which this replica can accept a waiter.
    pub(super) fn host(&self) -> Result<ReplicaId, Need> {
        self.me.filter(|_| !self.is_leaving).ok_or(Need::Membership)
    }

    /// The limit that keeps this replica from accepting another waiter of a tenant.
    pub(super) fn waiter_limit(&self, tenant: &Tenant) -> Option<WaiterLimit> {
        if self.is_full {
            return Some(WaiterLimit::Replica);
        }
        self.full_tenants.contains(tenant).then_some(WaiterLimit::Tenant)
    }

    /// Whether a tenant stores as much as it may.
    pub(super) fn is_over_storage(&self, tenant: &Tenant) -> bool {
        self.over_storage.contains(tenant)
    }
}
