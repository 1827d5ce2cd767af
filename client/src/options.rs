//! What can be asked for.

use serde::Serialize;

/// What to acquire, for how long, and how long to wait for it. Durations are in milliseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AcquireLockOptions {
    /// The key of the lock or semaphore.
    #[serde(skip)]
    pub key: String,
    /// How long the lease is; 0: the service's default, or the semaphore's.
    #[serde(skip_serializing_if = "is_zero")]
    pub lease_duration_ms: i64,
    /// How long to wait. Default: as long as the lease.
    #[serde(rename = "wait_ms", skip_serializing_if = "Option::is_none")]
    pub override_time_to_wait_for_lock_ms: Option<i64>,
    /// How long to wait on top of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_time_to_wait_for_lock_ms: Option<i64>,
    /// The longest pause between two looks at the lock, where nothing announces its release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_period_ms: Option<i64>,
    /// Who asks, shown to others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Text to store with the lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Whether `data` takes the place of the data that an existing lock has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_data: Option<bool>,
    /// Whether the lock is deleted when this grant ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_on_release: Option<bool>,
    /// Whether a grant of the same owner that stands is answered at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reentrant: Option<bool>,
    /// Whether the lock is guarded from this grant on: a transaction of the database can prove that its grant still counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guarded: Option<bool>,
    /// Whether the lock must exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acquire_only_if_already_exists: Option<bool>,
    /// The version of the grant-to-be. Default: a new one for each call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether a permit of the semaphore of this key is meant.
    #[serde(skip)]
    pub uses_semaphore: bool,
    /// Whether it ends at once if the service turns it away: answers the first try within 2 s that it cannot serve now (status
    /// 503). What comes later has waited in line; then, and without this, the service is asked again while there is time.
    #[serde(skip)]
    pub fails_when_turned_away: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl AcquireLockOptions {
    /// How long to wait in all.
    pub(crate) fn wait_ms(&self) -> i64 {
        let wait = self.override_time_to_wait_for_lock_ms.unwrap_or(self.lease_duration_ms);
        wait.saturating_add(self.additional_time_to_wait_for_lock_ms.unwrap_or_default())
    }
}

/// Builds [`AcquireLockOptions`].
///
/// ```
/// use db_locks::AcquireLockOptionsBuilder;
///
/// let options = AcquireLockOptionsBuilder::new("mylock", 1000)
///     .with_additional_time_to_wait_for_lock_ms(3000)
///     .with_refresh_period_ms(10)
///     .build();
/// assert_eq!(options.lease_duration_ms, 1000);
/// ```
#[derive(Debug, Clone)]
pub struct AcquireLockOptionsBuilder(AcquireLockOptions);

/// Setters that all look alike: `NAME(MEMBER: TYPE)`.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident($member:ident: $type:ty);)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(mut self, value: $type) -> Self {
            self.0.$member = value.into();
            self
        })*
    };
}

impl AcquireLockOptionsBuilder {
    /// The lock of this key, leased for so many milliseconds.
    pub fn new(key: impl Into<String>, lease_duration_ms: i64) -> Self {
        Self(AcquireLockOptions { key: key.into(), lease_duration_ms, ..AcquireLockOptions::default() })
    }

    setters! {
        /// How long to wait, in milliseconds, instead of as long as the lease.
        with_override_time_to_wait_for_lock_ms(override_time_to_wait_for_lock_ms: i64);
        /// How long to wait on top of that, in milliseconds.
        with_additional_time_to_wait_for_lock_ms(additional_time_to_wait_for_lock_ms: i64);
        /// The longest pause between two looks at the lock, in milliseconds, where nothing announces its release.
        with_refresh_period_ms(refresh_period_ms: i64);
        /// Whether `data` takes the place of the data that an existing lock has.
        with_replace_data(replace_data: bool);
        /// Whether the lock is deleted when this grant ends.
        with_delete_on_release(delete_on_release: bool);
        /// Whether a grant of the same owner that stands is answered at once. Needs an owner.
        with_reentrant(reentrant: bool);
        /// Whether the lock is guarded from this grant on: a transaction of the database can prove that its grant still
        /// counts.
        with_guarded(guarded: bool);
        /// Whether the lock must exist.
        with_acquire_only_if_already_exists(acquire_only_if_already_exists: bool);
        /// Whether a permit of the semaphore of this key is meant.
        with_uses_semaphore(uses_semaphore: bool);
        /// Whether it ends at once if the service answers the first try that it cannot serve now (status 503), instead of asking
        /// again while there is time.
        with_fails_when_turned_away(fails_when_turned_away: bool);
    }

    /// Text to store with the lock.
    #[must_use]
    pub fn with_data(mut self, data: impl Into<String>) -> Self {
        self.0.data = Some(data.into());
        self
    }

    /// Who asks, shown to others. Default: the client's owner.
    #[must_use]
    pub fn with_owner(mut self, owner: impl Into<String>) -> Self {
        self.0.owner = Some(owner.into());
        self
    }

    /// The version of the grant-to-be, a UUID: the same one again is the same grant. Default: a new one for each call.
    #[must_use]
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.0.version = Some(version.into());
        self
    }

    /// The options.
    pub fn build(self) -> AcquireLockOptions {
        self.0
    }
}

/// Which grant to renew, and for how long.
#[derive(Debug, Clone, Serialize)]
pub struct SendHeartbeatOptions {
    /// The key of the lock or semaphore.
    #[serde(skip)]
    pub key: String,
    /// The version of the grant.
    pub version: Option<String>,
    /// Whether the data is removed. Not together with `data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_data: Option<bool>,
    /// How long the lease is from now, in milliseconds. Default: as long as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_duration_ms: Option<i64>,
    /// Text to store in the place of the data. Default: what is there stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Whether the grant is a permit. Both ways lead to it; this one is 404 where the semaphore is gone.
    #[serde(skip)]
    pub uses_semaphore: bool,
}

impl SendHeartbeatOptions {
    /// Renews the grant of this version for so many milliseconds.
    pub fn new(
        key: impl Into<String>,
        version: impl Into<Option<String>>,
        delete_data: Option<bool>,
        lease_duration_ms: i64,
        data: Option<String>,
    ) -> Self {
        Self {
            key: key.into(),
            version: version.into(),
            delete_data,
            lease_duration_ms: Some(lease_duration_ms),
            data,
            uses_semaphore: false,
        }
    }
}

/// Which grant to release.
#[derive(Debug, Clone, Serialize)]
pub struct ReleaseLockOptions {
    /// The key of the lock or semaphore.
    #[serde(skip)]
    pub key: String,
    /// The version of the grant.
    pub version: Option<String>,
    /// Whether the lock is deleted too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_lock: Option<bool>,
    /// Text to store in the place of the data. Default: what is there stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Whether an operator ends the grant of another. Its holder is told so, with the reason. Without a version it is whatever
    /// grant of the lock is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force: Option<bool>,
    /// Why; only together with `force`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the grant is a permit.
    #[serde(skip)]
    pub uses_semaphore: bool,
}

impl ReleaseLockOptions {
    /// Releases the grant of this version.
    pub fn new(
        key: impl Into<String>,
        version: impl Into<Option<String>>,
        delete_lock: Option<bool>,
        data: Option<String>,
    ) -> Self {
        Self {
            key: key.into(),
            version: version.into(),
            delete_lock,
            data,
            force: None,
            reason: None,
            uses_semaphore: false,
        }
    }

    /// Ends a grant by force, for a reason that its holder is told.
    #[must_use]
    pub fn by_force(mut self, reason: Option<String>) -> Self {
        (self.force, self.reason) = (Some(true), reason);
        self
    }
}

/// Which lock or semaphore to delete.
#[derive(Debug, Clone)]
pub struct DeleteLockOptions {
    /// Its key.
    pub key: String,
    /// The version of the grant that ends with it; needed while the lock is held, ignored for a semaphore.
    pub version: Option<String>,
}

impl DeleteLockOptions {
    /// Deletes what has this key.
    pub fn new(key: impl Into<String>, version: impl Into<Option<String>>) -> Self {
        Self { key: key.into(), version: version.into() }
    }
}

/// Which part of a list to show.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ListOptions {
    /// What the keys begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Whose grants; locks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Held ones or free ones; locks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
