//! Whose turns a connection takes.

use std::{
    hash::{Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

use db_locks_service::access::Identity;
use rustc_hash::FxHasher;

/// The tenant of the last credential on a connection, as a hash; 0 if it was not valid, or if there was none.
#[derive(Debug, Default)]
pub(super) struct Party(AtomicU64);

impl Party {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes that there is no valid credential any more.
    pub(super) fn unset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Sets the tenant of a bearer. Who may act for all tenants counts as one of its own.
    pub(super) fn set(&self, bearer: &Identity) {
        let mut hasher = FxHasher::default();
        match &bearer.tenant {
            Some(tenant) => tenant.hash(&mut hasher),
            None => bearer.credential.hash(&mut hasher),
        }
        self.0.store(hasher.finish() | 1, Ordering::Relaxed);
    }
}
