//! A held lock.

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::LeaseInstant,
    error::{LockError, LockResult},
    lease::Lease,
    renewal::Renewal,
};

/// A view of a held lock, for the work that is done under the lock. Clones see the same lock. Only the [`LockGuard`] keeps it
/// held.
#[derive(Clone)]
pub struct LockHandle {
    pub(crate) lease: Arc<Lease>,
}

impl LockHandle {
    /// The key of the lock, or of the semaphore.
    pub fn key(&self) -> &str {
        &self.lease.key
    }

    /// The identity of the grant. It gives the right to renew and to release the grant.
    pub fn version(&self) -> &str {
        &self.lease.version
    }

    /// The fencing token: higher than the token of every earlier grant of this key. The system that you write to should refuse
    /// tokens lower than the highest one it has seen.
    pub fn fencing_token(&self) -> u64 {
        self.lease.fencing_token
    }

    /// The owner, as others see it.
    pub fn owner(&self) -> &str {
        &self.lease.owner
    }

    /// The length of the lease.
    pub fn lease(&self) -> Duration {
        self.lease.duration
    }

    /// How long the holder may still rely on the lock if no more heartbeats succeed; zero once the lock is lost or released.
    ///
    /// The time counts from before the last successful request was sent, by a clock that runs while the machine is suspended (on
    /// Linux), minus a margin. So it ends before the lease does.
    pub fn remaining(&self) -> Duration {
        if self.lease.is_lost() || self.lease.is_ended() {
            return Duration::ZERO;
        }
        self.lease.relied_until().remaining()
    }

    /// The instant at which [`remaining`](Self::remaining) becomes zero. Each heartbeat updates it.
    pub fn relied_until(&self) -> watch::Receiver<LeaseInstant> {
        self.lease.subscribe()
    }

    /// Whether the lock is lost.
    pub fn is_lost(&self) -> bool {
        self.lease.is_lost()
    }

    /// Completes when the lock is lost, before its lease ends: no heartbeat succeeded in time, or the service answered that the
    /// grant has ended. Never completes after a release. Put it first in a `biased` select.
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    /// A token that is cancelled when the lock is lost or released.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.lease.cancellation_token()
    }
}

impl fmt::Debug for LockHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The version gives rights, so it does not belong in logs.
        f.debug_struct("LockHandle")
            .field("key", &self.lease.key)
            .field("fencing_token", &self.lease.fencing_token)
            .finish_non_exhaustive()
    }
}

/// A held lock, renewed until it is released or dropped. Dropping it releases the lock in the background.
#[derive(Debug)]
#[must_use = "a lock is released as soon as its guard is dropped"]
pub struct LockGuard {
    handle: LockHandle,
    renewal: Arc<Renewal>,
}

impl LockGuard {
    pub(crate) fn new(lease: Lease, renewal: Arc<Renewal>) -> Self {
        let handle = LockHandle { lease: Arc::new(lease) };
        renewal.keep(Arc::clone(&handle.lease));
        Self { handle, renewal }
    }

    /// A view of the lock for other tasks.
    pub fn handle(&self) -> LockHandle {
        self.handle.clone()
    }

    /// Releases the lock, which grants it to the next waiter at once. The error [`LockError::Lost`] means that the lock was not held
    /// to the end. If the service is out of reach, the release is repeated until the lease ends.
    pub async fn release(self) -> LockResult<()> {
        let lease = &self.handle.lease;
        let until = lease.relied_until();
        // From here on the drop has nothing to do.
        let held = lease.end();
        let released = self.renewal.release(lease, until).await;
        if held { released } else { Err(LockError::Lost("the lease ended before the release".to_owned())) }
    }

    /// Stops the renewal without a release. The lock stays held until its lease ends.
    pub fn leave_to_lease(self) {
        self.handle.lease.end();
        self.renewal.forget(&self.handle.lease);
    }
}

impl Deref for LockGuard {
    type Target = LockHandle;

    fn deref(&self) -> &Self::Target {
        &self.handle
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        let lease = &self.handle.lease;
        if !lease.is_ended() || lease.is_lost() {
            let until = lease.relied_until();
            lease.end();
            // The answer is not needed.
            drop(self.renewal.release_in_background(lease, until));
        }
    }
}
