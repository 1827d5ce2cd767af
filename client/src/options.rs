//! The options of the calls.

use serde::Serialize;

/// Options of an acquire. Durations are in milliseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AcquireLockOptions {
    /// The key of the lock or semaphore.
    #[serde(skip)]
    pub key: String,
    /// The length of the lease. With 0 it is the default of the service, or of the semaphore.
    #[serde(skip_serializing_if = "is_zero")]
    pub lease_duration_ms: i64,
    /// How long to wait. Default: the length of the lease.
    #[serde(rename = "wait_ms", skip_serializing_if = "Option::is_none")]
    pub override_time_to_wait_for_lock_ms: Option<i64>,
    /// How long to wait in addition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_time_to_wait_for_lock_ms: Option<i64>,
    /// The poll interval of the original library. The service checks it and does not poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_period_ms: Option<i64>,
    /// The owner, which others can see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The text to store with the lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Whether `data` replaces the data of an existing lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_data: Option<bool>,
    /// Sets whether the lock is deleted when this grant ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_on_release: Option<bool>,
    /// Whether the active grant of the same owner, if there is one, is returned at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reentrant: Option<bool>,
    /// Whether the lock is guarded from this grant on: transactions in the database can check that the grant is still valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guarded: Option<bool>,
    /// Whether the acquire fails if the lock does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acquire_only_if_already_exists: Option<bool>,
    /// The version of the new grant. Default: a new one for each call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether to acquire a permit of the semaphore with this key.
    #[serde(skip)]
    pub uses_semaphore: bool,
    /// Whether the acquire fails at once if the service answers 503 to the first attempt within 2 s. An acquire that was answered
    /// later had waited in the queue; it is repeated until its time is over, and so is any acquire without this option. If the service
    /// is shutting down, it is repeated for up to 10 s.
    #[serde(skip)]
    pub fails_when_turned_away: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl AcquireLockOptions {
    /// How long to wait in total.
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

/// Defines setters: `NAME(MEMBER: TYPE)`.
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
    /// Options to acquire the lock with this key for `lease_duration_ms` milliseconds.
    pub fn new(key: impl Into<String>, lease_duration_ms: i64) -> Self {
        Self(AcquireLockOptions { key: key.into(), lease_duration_ms, ..AcquireLockOptions::default() })
    }

    setters! {
        /// Sets how long to wait, in milliseconds, instead of the length of the lease.
        with_override_time_to_wait_for_lock_ms(override_time_to_wait_for_lock_ms: i64);
        /// Sets how long to wait in addition, in milliseconds.
        with_additional_time_to_wait_for_lock_ms(additional_time_to_wait_for_lock_ms: i64);
        /// Sets the poll interval of the original library, in milliseconds. The service checks it and does not poll.
        with_refresh_period_ms(refresh_period_ms: i64);
        /// Sets whether `data` replaces the data of an existing lock.
        with_replace_data(replace_data: bool);
        /// Sets whether the lock is deleted when this grant ends.
        with_delete_on_release(delete_on_release: bool);
        /// Sets whether the active grant of the same owner, if there is one, is returned at once. Needs an owner.
        with_reentrant(reentrant: bool);
        /// Sets whether the lock is guarded from this grant on: transactions in the database can check that the grant is
        /// still valid.
        with_guarded(guarded: bool);
        /// Sets whether the acquire fails if the lock does not exist.
        with_acquire_only_if_already_exists(acquire_only_if_already_exists: bool);
        /// Sets whether to acquire a permit of the semaphore with this key.
        with_uses_semaphore(uses_semaphore: bool);
        /// Sets whether the acquire fails at once if the service answers 503 to the first attempt, instead of trying again while
        /// there is time.
        with_fails_when_turned_away(fails_when_turned_away: bool);
    }

    /// The text to store with the lock.
    #[must_use]
    pub fn with_data(mut self, data: impl Into<String>) -> Self {
        self.0.data = Some(data.into());
        self
    }

    /// Sets the owner, which others can see. Default: the client's owner.
    #[must_use]
    pub fn with_owner(mut self, owner: impl Into<String>) -> Self {
        self.0.owner = Some(owner.into());
        self
    }

    /// Sets the version of the new grant, a UUID. Repeating an acquire with the same version returns the same grant. Default: a new
    /// version for each call.
    #[must_use]
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.0.version = Some(version.into());
        self
    }

    /// Returns the options.
    pub fn build(self) -> AcquireLockOptions {
        self.0
    }
}

/// Options of a heartbeat.
#[derive(Debug, Clone, Serialize)]
pub struct SendHeartbeatOptions {
    /// The key of the lock or semaphore.
    #[serde(skip)]
    pub key: String,
    /// The version of the grant.
    pub version: Option<String>,
    /// Whether to remove the data. Not together with `data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_data: Option<bool>,
    /// The length of the lease from now, in milliseconds. Default: unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_duration_ms: Option<i64>,
    /// The text that replaces the stored data. Default: the data is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Whether the grant is a permit. Without it a permit is found too; with it the call fails with "not found" if the semaphore
    /// does not exist.
    #[serde(skip)]
    pub uses_semaphore: bool,
}

impl SendHeartbeatOptions {
    /// Options to renew the grant of this version for `lease_duration_ms` milliseconds.
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

/// Options of a release.
#[derive(Debug, Clone, Serialize)]
pub struct ReleaseLockOptions {
    /// The key of the lock or semaphore.
    #[serde(skip)]
    pub key: String,
    /// The version of the grant.
    pub version: Option<String>,
    /// Whether to delete the lock as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_lock: Option<bool>,
    /// The text that replaces the stored data. Default: the data is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Whether to end the grant of another holder, as an operator. That holder's calls fail with the reason. Without a version this
    /// ends the active grant of the lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force: Option<bool>,
    /// The reason for `force`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the grant is a permit.
    #[serde(skip)]
    pub uses_semaphore: bool,
}

impl ReleaseLockOptions {
    /// Options to release the grant of this version.
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

    /// Ends a grant by force. Its holder's calls fail with the reason.
    #[must_use]
    pub fn by_force(mut self, reason: Option<String>) -> Self {
        (self.force, self.reason) = (Some(true), reason);
        self
    }
}

/// Options of a deletion.
#[derive(Debug, Clone)]
pub struct DeleteLockOptions {
    /// The key of the lock or semaphore.
    pub key: String,
    /// The version of the active grant. Required while the lock is held, ignored for a semaphore.
    pub version: Option<String>,
}

impl DeleteLockOptions {
    /// Options to delete the lock or semaphore with this key.
    pub fn new(key: impl Into<String>, version: impl Into<Option<String>>) -> Self {
        Self { key: key.into(), version: version.into() }
    }
}

/// Options of a list.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ListOptions {
    /// The prefix of the keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The owner of the grants; for locks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Held locks (true) or free locks (false); for locks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,
    /// The largest number of items on the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
