//! The facts that decisions depend on.

use std::{collections::BTreeSet, sync::Arc};

use super::outcome::Need;
use crate::domain::{Epoch, Now, ReplicaId, Suspects, Tenant, WaiterLimit};

/// The facts that a decision depends on besides the command and the state of its key. All decisions of a batch share
/// them.
#[derive(Debug, Clone)]
pub struct Context {
    /// The database's time.
    pub now: Now,
    /// The epoch of new tokens.
    pub epoch: Epoch,
    /// The identity of this replica while it is registered, so that the other replicas know it. Required for commands
    /// that wait.
    pub me: Option<ReplicaId>,
    /// Whether this replica is about to leave. Then it serves its waiters and accepts no new ones.
    pub is_leaving: bool,
    /// Replicas that are known to be dead.
    pub dead: Arc<BTreeSet<ReplicaId>>,
    /// Replicas that did not claim an offer in time.
    pub suspects: Arc<Suspects>,
    /// The maximum number of waiters of one key.
    pub max_waiters_per_key: i64,
    /// Whether changes list the grants that they make and end.
    pub lists_changes: bool,
    /// Tenants that have reached their storage limit.
    pub over_storage: Arc<BTreeSet<Tenant>>,
}

impl Context {
    /// The facts without other replicas, limits or lists of changes: a start for tests.
    pub fn alone(now: Now) -> Self {
        Self {
            now,
            epoch: Epoch::default(),
            me: None,
            is_leaving: false,
            dead: Arc::default(),
            suspects: Arc::default(),
            max_waiters_per_key: i64::MAX,
            lists_changes: false,
            over_storage: Arc::default(),
        }
    }

    /// The identity under which this replica can accept a waiter.
    pub(super) fn host(&self) -> Result<ReplicaId, Need> {
        self.me.filter(|_| !self.is_leaving).ok_or(Need::Membership)
    }

    /// Whether a tenant has reached its storage limit.
    pub(super) fn is_over_storage(&self, tenant: &Tenant) -> bool {
        self.over_storage.contains(tenant)
    }
}

/// The room that this replica has for new waiters of a key's tenant. It is reserved for the decision on that key.
#[derive(Debug, Clone, Copy)]
pub struct WaiterRoom {
    /// The number of acquires that may begin to wait.
    pub places: usize,
    /// The limit that keeps further ones from waiting.
    pub limit: WaiterLimit,
}

impl WaiterRoom {
    /// Room for any number of waiters.
    pub const UNLIMITED: Self = Self { places: usize::MAX, limit: WaiterLimit::Replica };

    /// The limit that is reached, if one is.
    pub(super) fn limit_reached(&self) -> Option<WaiterLimit> {
        (self.places == 0).then_some(self.limit)
    }

    /// Notes a new waiter.
    pub(super) const fn take(&mut self) {
        self.places = self.places.saturating_sub(1);
    }
}
