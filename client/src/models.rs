//! What the service answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    clock::LeaseInstant,
    options::{AcquireLockOptions, ReleaseLockOptions, SendHeartbeatOptions},
};

/// A lock, or a permit of a semaphore: held or not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LockItem {
    /// Its key.
    pub key: String,
    /// Whose key it is.
    pub tenant: String,
    /// The semaphore's key, if it is a permit.
    pub semaphore_key: Option<String>,
    /// Whether it is held, and its lease has not ended.
    pub locked: bool,
    /// The identity of the grant; `None` while nobody holds it.
    pub version: Option<String>,
    /// A number that grows with every grant of the key.
    pub fencing_token: u64,
    /// Who holds it.
    pub owner: Option<String>,
    /// Text that is stored with it.
    pub data: Option<String>,
    /// The length of its lease, in milliseconds.
    pub lease_duration_ms: u64,
    /// When it was granted, in RFC 3339.
    pub acquired_at: Option<String>,
    /// When its lease ends, in RFC 3339, by the database's clock.
    pub expires_at: Option<String>,
    /// What was left of its lease when the answer was sent, in milliseconds.
    pub expires_in_ms: Option<u64>,
    /// Whether it is deleted when this grant ends.
    pub delete_on_release: bool,
    /// Whether transactions of the database can prove by `db_locks_guard` that its grant still counts.
    #[serde(default)]
    pub guarded: bool,
    /// How many wait for it.
    pub waiters: u64,
    /// When it was created, in RFC 3339.
    pub created_at: String,
    /// When it was changed last, in RFC 3339.
    pub updated_at: String,
    /// When the request that brought this was sent. What never was an answer has none.
    #[serde(skip)]
    pub(crate) sent_at: Option<LeaseInstant>,
}

impl LockItem {
    /// Until when its holder may rely on it: counted from before the request was sent, not from its answer.
    pub fn relied_until(&self) -> Option<LeaseInstant> {
        Some(self.sent_at?.plus(Duration::from_millis(self.expires_in_ms?)))
    }

    /// How long its holder may still rely on it.
    pub fn remaining(&self) -> Duration {
        self.relied_until().map(LeaseInstant::remaining).unwrap_or_default()
    }

    /// Whether nobody holds it, or what is left of the lease has passed since.
    pub fn expired(&self) -> bool {
        self.remaining().is_zero()
    }

    /// Options that renew its lease for as long as it was.
    pub fn to_heartbeat_options(&self) -> SendHeartbeatOptions {
        let lease = i64::try_from(self.lease_duration_ms).unwrap_or(i64::MAX);
        let options = SendHeartbeatOptions::new(self.key.clone(), self.version.clone(), None, lease, None);
        SendHeartbeatOptions { uses_semaphore: self.semaphore_key.is_some(), ..options }
    }

    /// Options that release it.
    pub fn to_release_options(&self) -> ReleaseLockOptions {
        let options = ReleaseLockOptions::new(self.key.clone(), self.version.clone(), None, None);
        ReleaseLockOptions { uses_semaphore: self.semaphore_key.is_some(), ..options }
    }
}

/// A semaphore.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Semaphore {
    /// Its key.
    pub key: String,
    /// Whose key it is.
    pub tenant: String,
    /// How many permits can be out at a time.
    pub max_size: u32,
    /// How many are out.
    pub busy_count: u32,
    /// How many wait for one.
    pub waiters: u64,
    /// The default lease of its permits, in milliseconds.
    pub lease_duration_ms: u64,
    /// Whether transactions of the database can prove by `db_locks_guard` that a permit's grant still counts. A semaphore that
    /// is guarded stays so: false changes nothing.
    #[serde(default)]
    pub guarded: bool,
    /// When it was created, in RFC 3339.
    pub created_at: String,
    /// When it was changed last, in RFC 3339.
    pub updated_at: String,
}

impl AcquireLockOptions {
    /// The semaphore of this key, with so many permits and this lease as their default, guarded if the options are: what
    /// [`create_semaphore`](crate::LockService::create_semaphore) takes.
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
    /// What it holds, in byte order of the keys.
    pub items: Vec<T>,
    /// Cursor of the next page; `None` on the last page.
    pub next_cursor: Option<String>,
}
