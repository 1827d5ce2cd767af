//! The types of the service's answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    clock::LeaseInstant,
    options::{AcquireLockOptions, ReleaseLockOptions, SendHeartbeatOptions},
};

/// A lock or a permit of a semaphore, held or not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LockItem {
    /// The key.
    pub key: String,
    /// The tenant that owns the key.
    pub tenant: String,
    /// The semaphore's key, for a permit.
    pub semaphore_key: Option<String>,
    /// Whether it is held: granted, not released, and the lease has not ended.
    pub locked: bool,
    /// The identity of the grant; `None` while it is not held.
    pub version: Option<String>,
    /// A number that grows with every grant of the key.
    pub fencing_token: u64,
    /// The owner of the grant.
    pub owner: Option<String>,
    /// The text stored with the lock.
    pub data: Option<String>,
    /// The length of the lease, in milliseconds.
    pub lease_duration_ms: u64,
    /// When it was granted, in RFC 3339.
    pub acquired_at: Option<String>,
    /// When the lease ends, in RFC 3339, by the database's clock.
    pub expires_at: Option<String>,
    /// The time from the answer to the end of the lease, in milliseconds.
    pub expires_in_ms: Option<u64>,
    /// Whether the lock is deleted when this grant ends.
    pub delete_on_release: bool,
    /// Whether transactions in the database can check with `db_locks_guard` that the grant is still valid.
    #[serde(default)]
    pub guarded: bool,
    /// The number of waiters in the queue.
    pub waiters: u64,
    /// The time of creation, in RFC 3339.
    pub created_at: String,
    /// The time of the last change, in RFC 3339.
    pub updated_at: String,
    /// When the request for this answer was sent; `None` if the value did not come from an answer.
    #[serde(skip)]
    pub(crate) sent_at: Option<LeaseInstant>,
}

impl LockItem {
    /// The instant until which the holder may rely on the lease. It counts from before the request was sent, not from the answer.
    pub fn relied_until(&self) -> Option<LeaseInstant> {
        Some(self.sent_at?.plus(Duration::from_millis(self.expires_in_ms?)))
    }

    /// How long the holder may still rely on the lease.
    pub fn remaining(&self) -> Duration {
        self.relied_until().map(LeaseInstant::remaining).unwrap_or_default()
    }

    /// Whether it is not held, or its lease has ended since the answer.
    pub fn expired(&self) -> bool {
        self.remaining().is_zero()
    }

    /// Options for a heartbeat that renews the lease with its current length.
    pub fn to_heartbeat_options(&self) -> SendHeartbeatOptions {
        let lease = i64::try_from(self.lease_duration_ms).unwrap_or(i64::MAX);
        let options = SendHeartbeatOptions::new(self.key.clone(), self.version.clone(), None, lease, None);
        SendHeartbeatOptions { uses_semaphore: self.semaphore_key.is_some(), ..options }
    }

    /// Options that release the grant.
    pub fn to_release_options(&self) -> ReleaseLockOptions {
        let options = ReleaseLockOptions::new(self.key.clone(), self.version.clone(), None, None);
        ReleaseLockOptions { uses_semaphore: self.semaphore_key.is_some(), ..options }
    }
}

/// A semaphore.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Semaphore {
    /// The key.
    pub key: String,
    /// The tenant that owns the key.
    pub tenant: String,
    /// The size: the largest number of permits that can be held at a time.
    pub max_size: u32,
    /// The number of permits that are held.
    pub busy_count: u32,
    /// The number of waiters in the queue.
    pub waiters: u64,
    /// The default lease of permits, in milliseconds.
    pub lease_duration_ms: u64,
    /// Whether transactions in the database can check with `db_locks_guard` that a permit's grant is still valid. A guarded
    /// semaphore stays guarded: false changes nothing.
    #[serde(default)]
    pub guarded: bool,
    /// The time of creation, in RFC 3339.
    pub created_at: String,
    /// The time of the last change, in RFC 3339.
    pub updated_at: String,
}

impl AcquireLockOptions {
    /// The argument for [`create_semaphore`](crate::LockService::create_semaphore): a semaphore with the key, the lease and
    /// `guarded` of these options.
    pub fn to_semaphore(&self, max_size: u32) -> Semaphore {
        Semaphore {
            key: self.key.clone(),
            tenant: String::new(),
            max_size,
            busy_count: 0,
            waiters: 0,
            lease_duration_ms: u64::try_from(self.lease_duration_ms).unwrap_or_default(),
            guarded: self.guarded == Some(true),
            created_at: String::new(),
            updated_at: String::new(),
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, in byte order of their keys.
    pub items: Vec<T>,
    /// Cursor of the next page; `None` on the last page.
    pub next_cursor: Option<String>,
}
