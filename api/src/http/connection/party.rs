//! Whose turns a connection takes.

use std::{
    hash::{Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

use db_locks_service::access::Identity;
use rustc_hash::FxHasher;

/// Those who share the time of the threads equally: a tenant, as a hash, or all clients without a valid credential together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(in crate::http) struct Party(u64);

impl Party {
    /// The clients without a valid credential.
    pub(in crate::http) const UNKNOWN: Self = Self(0);

    /// The tenant of a bearer. Who may act for all tenants counts as one of its own.
    fn of(bearer: &Identity) -> Self {
        let mut hasher = FxHasher::default();
        match &bearer.tenant {
            Some(tenant) => tenant.hash(&mut hasher),
            None => bearer.credential.hash(&mut hasher),
        }
        Self(hasher.finish() | 1)
    }

    /// One of several parties.
    #[cfg(test)]
    pub(in crate::http) const fn for_test(number: u64) -> Self {
        Self(number)
    }
}

/// The party of the last credential on a connection.
#[derive(Debug, Default)]
pub(super) struct LastParty(AtomicU64);

impl LastParty {
    pub(super) fn get(&self) -> Party {
        Party(self.0.load(Ordering::Relaxed))
    }

    /// Notes a credential, which was refused if there is no bearer.
    pub(super) fn set(&self, bearer: Option<&Identity>) {
        self.0.store(bearer.map_or(Party::UNKNOWN, Party::of).0, Ordering::Relaxed);
    }
}
