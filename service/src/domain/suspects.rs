//! Replicas that let an offer lapse.

use std::collections::{BTreeMap, BTreeSet};

use super::{ReplicaId, Tenant};

/// Replicas that did not claim an offer in time, each with the tenants whose offers lapsed. Nothing more of these tenants is
/// offered to it before it is known to be dead or alive.
///
/// A replica serves its tenants in turn, so one whose requests there wait for long lets its offers lapse, and those of others
/// do not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suspects(BTreeMap<ReplicaId, BTreeSet<Tenant>>);

impl Suspects {
    /// Adds a replica that let an offer of a tenant lapse.
    pub fn insert(&mut self, replica: ReplicaId, tenant: &Tenant) {
        let tenants = self.0.entry(replica).or_default();
        if !tenants.contains(tenant) {
            tenants.insert(tenant.clone());
        }
    }

    /// Removes a replica. Returns whether it was a suspect.
    pub fn remove(&mut self, replica: ReplicaId) -> bool {
        self.0.remove(&replica).is_some()
    }

    /// Whether nothing of a tenant is offered to a replica.
    pub fn contains(&self, replica: ReplicaId, tenant: &Tenant) -> bool {
        self.0.get(&replica).is_some_and(|tenants| tenants.contains(tenant))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The replicas.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaId> {
        self.0.keys().copied()
    }
}
