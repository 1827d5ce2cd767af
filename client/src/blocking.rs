//! The client for programs without an async runtime.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! # fn example() -> Result<(), db_locks::LockError> {
//! let client = db_locks::blocking::connect("http://127.0.0.1:8080")?;
//! let lock = client.lock("deploy").lease(Duration::from_secs(30)).wait(Duration::from_secs(10)).acquire()?;
//! for step in ["build", "copy", "switch"] {
//!     if lock.is_lost() {
//!         eprintln!("stop before {step}: another one may hold the lock soon");
//!         break;
//!     }
//!     carry_out(step, lock.fencing_token());
//! }
//! lock.release()?;
//! # Ok(())
//! # }
//! # fn carry_out(step: &str, fencing_token: u64) {}
//! ```
//!
//! The locks renew themselves here too, in a thread of the client. A thread cannot be interrupted: ask
//! [`is_lost`](crate::LockHandle::is_lost) or [`remaining`](crate::LockHandle::remaining) between two steps.
//!
//! Not to be called from async code: it panics there.

use std::{ops::Deref, sync::Arc, time::Duration};

use tokio::runtime::{Builder, Runtime};

use crate::{
    config::LocksConfig,
    error::{LockError, LockResult},
    guard::LockHandle,
    models::{LockItem, Page, Semaphore},
    options::{AcquireLockOptions, DeleteLockOptions, ListOptions, ReleaseLockOptions, SendHeartbeatOptions},
};

/// Like [`connect`](crate::connect): connects to the service or the database at `url`.
pub fn connect(urls: impl Into<String>) -> LockResult<Client> {
    Client::connect(&LocksConfig::new(urls))
}

/// A client of a lock service. Clones share connections and the renewal of leases. Several threads may use one client.
#[derive(Debug, Clone)]
pub struct Client {
    client: crate::Client,
    runtime: Arc<Runtime>,
}

/// Defines a blocking method for each call of [`LockService`](crate::LockService).
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        $(#[$doc])*
        pub fn $name(&self, $($argument: $type),*) -> LockResult<$answer> {
            self.runtime.block_on(self.client.$name($($argument),*))
        }
    )*};
}

impl Client {
    /// Connects with these settings: to a service, or, if the URL is a database's, to an engine in this process.
    pub fn connect(config: &LocksConfig) -> LockResult<Self> {
        let runtime = runtime()?;
        Ok(Self { client: runtime.block_on(crate::Client::connect(config))?, runtime: Arc::new(runtime) })
    }

    /// A client of a service with these settings.
    pub fn new(config: &LocksConfig) -> LockResult<Self> {
        Ok(Self { client: crate::Client::new(config)?, runtime: Arc::new(runtime()?) })
    }

    /// Begins a request for a lock that is renewed in the background.
    pub fn lock(&self, key: impl Into<String>) -> LockRequest {
        LockRequest { request: self.client.lock(key), runtime: Arc::clone(&self.runtime) }
    }

    /// Begins a request for a permit of a semaphore that is renewed in the background.
    pub fn permit(&self, semaphore_key: impl Into<String>) -> LockRequest {
        LockRequest { request: self.client.permit(semaphore_key), runtime: Arc::clone(&self.runtime) }
    }

    calls! {
        /// Acquires a lock, or a permit with `uses_semaphore`. Waits in the queue as long as the options say.
        acquire_lock(options: &AcquireLockOptions) -> LockItem;
        /// Acquires a lock only if it is free now; `None` if it is held.
        try_acquire_lock(options: &AcquireLockOptions) -> Option<LockItem>;
        /// Renews a lease.
        send_heartbeat(options: &SendHeartbeatOptions) -> LockItem;
        /// Releases a grant. Returns the lock as it is after the release.
        release_lock(options: &ReleaseLockOptions) -> LockItem;
        /// Shows a lock, held or not.
        get_lock(key: &str) -> LockItem;
        /// Shows a page of locks.
        list_locks(options: &ListOptions) -> Page<LockItem>;
        /// Deletes a lock that is free, or held with the version in the options.
        delete_lock(options: &DeleteLockOptions) -> ();
        /// Creates a semaphore, or changes its size and the default lease of its permits.
        create_semaphore(semaphore: &Semaphore) -> Semaphore;
        /// Shows a semaphore.
        get_semaphore(key: &str) -> Semaphore;
        /// Shows a page of semaphores.
        list_semaphores(options: &ListOptions) -> Page<Semaphore>;
        /// Shows a page of the held permits of a semaphore.
        list_permits(key: &str, options: &ListOptions) -> Page<LockItem>;
        /// Shows all held permits of a semaphore.
        get_semaphore_locks(key: &str) -> Vec<LockItem>;
        /// Deletes a semaphore without held permits.
        delete_semaphore(options: &DeleteLockOptions) -> ();
    }
}

fn runtime() -> LockResult<Runtime> {
    Builder::new_current_thread().enable_all().build().map_err(|error| LockError::Unavailable {
        detail: format!("the runtime cannot be started: {error}"),
        retry_after: Duration::from_secs(1),
    })
}

/// A request for a lock, to be sent by [`acquire`](Self::acquire).
#[derive(Debug)]
#[must_use = "nothing is asked for before `acquire`"]
pub struct LockRequest {
    request: crate::LockRequest,
    runtime: Arc<Runtime>,
}

impl LockRequest {
    /// As [`LockRequest::lease`](crate::LockRequest::lease).
    pub fn lease(self, lease: Duration) -> Self {
        Self { request: self.request.lease(lease), ..self }
    }

    /// As [`LockRequest::wait`](crate::LockRequest::wait).
    pub fn wait(self, wait: Duration) -> Self {
        Self { request: self.request.wait(wait), ..self }
    }

    /// As [`LockRequest::fail_when_turned_away`](crate::LockRequest::fail_when_turned_away).
    pub fn fail_when_turned_away(self) -> Self {
        Self { request: self.request.fail_when_turned_away(), ..self }
    }

    /// As [`LockRequest::owner`](crate::LockRequest::owner).
    pub fn owner(self, owner: impl Into<String>) -> Self {
        Self { request: self.request.owner(owner), ..self }
    }

    /// As [`LockRequest::data`](crate::LockRequest::data).
    pub fn data(self, data: impl Into<String>) -> Self {
        Self { request: self.request.data(data), ..self }
    }

    /// As [`LockRequest::guarded`](crate::LockRequest::guarded).
    pub fn guarded(self) -> Self {
        Self { request: self.request.guarded(), ..self }
    }

    /// Waits in the queue for the lock.
    pub fn acquire(self) -> LockResult<LockGuard> {
        let Self { request, runtime } = self;
        let guard = runtime.block_on(request.acquire())?;
        Ok(LockGuard { guard, runtime })
    }

    /// Acquires the lock only if it is free now; `None` if it is held.
    pub fn try_acquire(self) -> LockResult<Option<LockGuard>> {
        let Self { request, runtime } = self;
        let guard = runtime.block_on(request.try_acquire())?;
        Ok(guard.map(|guard| LockGuard { guard, runtime }))
    }

    /// Runs `body` under the lock, then releases the lock. The result is [`LockError::Lost`] if the lock was lost meanwhile. A long
    /// `body` should check [`is_lost`](LockHandle::is_lost) itself.
    pub fn with_lock<T>(self, body: impl FnOnce(&LockHandle) -> T) -> LockResult<T> {
        let guard = self.acquire()?;
        let result = body(&guard);
        match guard.release() {
            Err(LockError::Lost(why)) => Err(LockError::Lost(why)),
            // The work was done under the lock; that it could not be released in time is not its failure.
            Ok(()) | Err(_) => Ok(result),
        }
    }
}

/// A held lock, renewed until it is released or dropped. Dropping it releases the lock in the background.
#[derive(Debug)]
#[must_use = "a lock is released as soon as its guard is dropped"]
pub struct LockGuard {
    guard: crate::LockGuard,
    runtime: Arc<Runtime>,
}

impl LockGuard {
    /// As [`LockGuard::release`](crate::LockGuard::release).
    pub fn release(self) -> LockResult<()> {
        let Self { guard, runtime } = self;
        runtime.block_on(guard.release())
    }

    /// Waits until the lock is lost, for at most `timeout`. Returns whether it is lost.
    pub fn wait_lost(&self, timeout: Duration) -> bool {
        let lost = async { tokio::time::timeout(timeout, self.guard.lost()).await };
        self.runtime.block_on(lost).is_ok()
    }
}

impl Deref for LockGuard {
    type Target = LockHandle;

    fn deref(&self) -> &LockHandle {
        &self.guard
    }
}
