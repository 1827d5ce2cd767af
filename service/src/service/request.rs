//! Requests for a lease, and their limits.

use crate::domain::{Data, Kind, Owner, Version};

/// The configured limits of requests.
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
    /// Whether to take a lock, or a permit of a semaphore.
    pub kind: Kind,
    /// The owner of the grant.
    pub owner: Owner,
    /// The lease in milliseconds; `None`: the default.
    pub lease_ms: Option<i64>,
    /// How long to wait in milliseconds; `None`: as long as the lease.
    pub wait_ms: Option<i64>,
    /// Additional waiting time in milliseconds.
    pub additional_wait_ms: i64,
    /// Text to store.
    pub data: Option<Data>,
    /// Whether `data` replaces the data of the lock.
    pub replace_data: bool,
    /// Whether the lock is deleted when the grant ends.
    pub delete_on_release: bool,
    /// Whether to refuse the request instead of creating the lock.
    pub only_if_exists: bool,
    /// Whether an active grant of the same owner is answered.
    pub reentrant: bool,
    /// Whether the lock is guarded from this grant on.
    pub guarded: bool,
    /// The version that the caller chose; `None` if the service is to choose.
    pub version: Option<Version>,
}
