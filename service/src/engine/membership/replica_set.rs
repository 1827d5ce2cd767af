//! A set of replicas that every decision reads and that rarely changes.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::domain::ReplicaId;

/// A set of replicas. It is replaced as a whole when it changes, so that a reader only clones the `Arc`.
#[derive(Debug, Default)]
pub(super) struct ReplicaSet(Mutex<Arc<BTreeSet<ReplicaId>>>);

impl ReplicaSet {
    fn lock(&self) -> MutexGuard<'_, Arc<BTreeSet<ReplicaId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The replicas in the set.
    pub(super) fn get(&self) -> Arc<BTreeSet<ReplicaId>> {
        self.lock().clone()
    }

    /// Adds a replica. Returns whether it was not in the set.
    pub(super) fn insert(&self, replica: ReplicaId) -> bool {
        let mut set = self.lock();
        !set.contains(&replica) && Arc::make_mut(&mut set).insert(replica)
    }

    /// Removes a replica. Returns whether it was in the set.
    pub(super) fn remove(&self, replica: ReplicaId) -> bool {
        let mut set = self.lock();
        set.contains(&replica) && Arc::make_mut(&mut set).remove(&replica)
    }
}
