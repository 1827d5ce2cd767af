//! Requests for a lease, and the limits that they are checked against.

use crate::domain::{Data, Kind, Owner, Version};

/// The limits that the configuration sets and that requests are checked against.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest lease in milliseconds.
    pub max_lease_ms: i64,
    /// The longest wait in milliseconds.
    pub max_wait_ms: i64,
    /// The most waiters of one key.
    pub max_waiters_per_key: i64,
    /// The most waiters of this replica.
    pub max_waiters: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_lease_ms: 86_400_000,
            max_wait_ms: 600_000,
            max_waiters_per_key: 10_000,
            max_waiters: 50_000,
        }
    }
}

/// A validated request for a lease.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "the contract has these independent switches")]
pub struct AcquireRequest {
    /// A lock, or a permit of a semaphore.
    pub kind: Kind,
    /// Who takes it.
    pub owner: Owner,
    /// The lease in milliseconds, or the default.
    pub lease_ms: Option<i64>,
    /// How long to wait in milliseconds, or as long as the lease.
    pub wait_ms: Option<i64>,
    /// Waiting time on top in milliseconds.
    pub additional_wait_ms: i64,
    /// Text to store.
    pub data: Option<Data>,
    /// Whether `data` takes the place of what the lock has.
    pub replace_data: bool,
    /// Whether the lock goes when the grant ends.
    pub delete_on_release: bool,
    /// Whether to refuse instead of creating.
    pub only_if_exists: bool,
    /// Whether the same owner's standing grant is answered.
    pub reentrant: bool,
    /// Whether the lock is guarded from this grant on.
    pub guarded: bool,
    /// The version that the caller chose.
    pub version: Option<Version>,
}
