//! Values that every decision reads and that rarely change.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::domain::ReplicaId;

/// A value that is replaced as a whole when it changes, so that a reader only clones the `Arc`.
#[derive(Debug, Default)]
pub(super) struct Snapshot<T>(Mutex<Arc<T>>);

/// A set of replicas.
pub(super) type ReplicaSet = Snapshot<BTreeSet<ReplicaId>>;

impl<T: Clone> Snapshot<T> {
    fn lock(&self) -> MutexGuard<'_, Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value as it is now.
    pub(super) fn get(&self) -> Arc<T> {
        self.lock().clone()
    }

    /// Changes the value.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(Arc::make_mut(&mut self.lock()))
    }
}

impl ReplicaSet {
    /// Adds a replica. Returns whether it was not in the set.
    pub(super) fn insert(&self, replica: ReplicaId) -> bool {
        !self.get().contains(&replica) && self.change(|set| set.insert(replica))
    }

    /// Removes a replica. Returns whether it was in the set.
    pub(super) fn remove(&self, replica: ReplicaId) -> bool {
        self.get().contains(&replica) && self.change(|set| set.remove(&replica))
    }
}
