//! The same for programs without an async runtime.
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

/// As [`connect`](crate::connect): to the service at this URL, or to a database.
pub fn connect(urls: impl Into<String>) -> LockResult<Client> {
    Client::connect(&LocksConfig::new(urls))
}

/// A client of a lock service. Clones share its connections and its renewal, and may be used by several threads.
#[derive(Debug, Clone)]
pub struct Client {
    client: crate::Client,
    runtime: Arc<Runtime>,
}

/// Makes a blocking call of each call of [`LockService`](crate::LockService).
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        $(#[$doc])*
        pub fn $name(&self, $($argument: $type),*) -> LockResult<$answer> {
            self.runtime.block_on(self.client.$name($($argument),*))
        }
    )*};
}

impl Client {
    /// A client with these settings: of a service, or of an engine of its own if the URL is a database's.
    pub fn connect(config: &LocksConfig) -> LockResult<Self> {
        let runtime = runtime()?;
        Ok(Self { client: runtime.block_on(crate::Client::connect(config))?, runtime: Arc::new(runtime) })
    }

    /// A client of a service with these settings.
    pub fn new(config: &LocksConfig) -> LockResult<Self> {
        Ok(Self { client: crate::Client::new(config)?, runtime: Arc::new(runtime()?) })
    }

    /// Asks for a lock that renews itself.
    pub fn lock(&self, key: impl Into<String>) -> LockRequest {
        LockRequest { request: self.client.lock(key), runtime: Arc::clone(&self.runtime) }
    }

    /// Asks for a permit of a semaphore that renews itself.
    pub fn permit(&self, semaphore_key: impl Into<String>) -> LockRequest {
        LockRequest { request: self.client.permit(semaphore_key), runtime: Arc::clone(&self.runtime) }
    }

    calls! {
        /// Acquires a lock, or a permit with `uses_semaphore`; waits in line for as long as the options say.
        acquire_lock(options: &AcquireLockOptions) -> LockItem;
        /// Acquires a lock only if it is free now; `None` if it is held.
        try_acquire_lock(options: &AcquireLockOptions) -> Option<LockItem>;
        /// Renews a lease.
        send_heartbeat(options: &SendHeartbeatOptions) -> LockItem;
        /// Releases a grant; the lock as the release left it.
        release_lock(options: &ReleaseLockOptions) -> LockItem;
        /// Shows a lock, held or not.
        get_lock(key: &str) -> LockItem;
        /// Shows a page of locks.
        list_locks(options: &ListOptions) -> Page<LockItem>;
        /// Deletes a lock that is free, or held with the version that the options name.
        delete_lock(options: &DeleteLockOptions) -> ();
        /// Creates a semaphore, or changes its size and the default lease of its permits.
        create_semaphore(semaphore: &Semaphore) -> Semaphore;
        /// Shows a semaphore.
        get_semaphore(key: &str) -> Semaphore;
        /// Shows a page of semaphores.
        list_semaphores(options: &ListOptions) -> Page<Semaphore>;
        /// Shows a page of the permits of a semaphore that are out.
        list_permits(key: &str, options: &ListOptions) -> Page<LockItem>;
        /// Shows all permits of a semaphore that are out.
        get_semaphore_locks(key: &str) -> Vec<LockItem>;
        /// Deletes a semaphore none of whose permits is out.
        delete_semaphore(options: &DeleteLockOptions) -> ();
    }
}

fn runtime() -> LockResult<Runtime> {
    Builder::new_current_thread().enable_all().build().map_err(|error| LockError::Unavailable {
        detail: format!("the runtime cannot be started: {error}"),
        retry_after: Duration::from_secs(1),
    })
}

/// A lock that is to be acquired.
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

    /// Waits in line for the lock.
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

    /// Runs `body` under the lock, then releases it. The result is [`LockError::Lost`] if the lock was lost meanwhile; `body`
    /// itself has to ask for that if it takes long.
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

/// A lock that is held. It is renewed until it is released or dropped; a drop releases it in the background.
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

    /// Waits until the lock is lost, at most for so long. Whether it is.
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
