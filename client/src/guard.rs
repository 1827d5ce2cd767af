//! A lock that is held.

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::LeaseInstant,
    error::{LockError, LockResult},
    lease::Lease,
    renewal::Renewal,
};

/// A view of a lock that is held, for the work that is done under it. Clones see the same lock; only its [`LockGuard`] keeps
/// it.
#[derive(Clone)]
pub struct LockHandle {
    pub(crate) lease: Arc<Lease>,
}

impl LockHandle {
    /// The key of the lock, or of the semaphore.
    pub fn key(&self) -> &str {
        &self.lease.key
    }

    /// The identity of the grant: the right to renew and to release it.
    pub fn version(&self) -> &str {
        &self.lease.version
    }

    /// A number that is higher than that of every grant of this key before. Let what you write to refuse lower ones.
    pub fn fencing_token(&self) -> u64 {
        self.lease.fencing_token
    }

    /// Who holds it, as others see it.
    pub fn owner(&self) -> &str {
        &self.lease.owner
    }

    /// The length of the lease.
    pub fn lease(&self) -> Duration {
        self.lease.duration
    }

    /// How long the lock may still be relied on if no heartbeat succeeds any more; zero once it is lost or given back.
    ///
    /// It is counted from before the last successful request was sent, by a clock that goes on while the machine is
    /// suspended (on Linux), less a margin; so it ends before the lease does.
    pub fn remaining(&self) -> Duration {
        if self.lease.is_lost() || self.lease.is_ended() {
            return Duration::ZERO;
        }
        self.lease.relied_until().remaining()
    }

    /// The instant at which [`remaining`](Self::remaining) is zero, as it changes with each heartbeat.
    pub fn relied_until(&self) -> watch::Receiver<LeaseInstant> {
        self.lease.subscribe()
    }

    /// Whether the lock is lost.
    pub fn is_lost(&self) -> bool {
        self.lease.is_lost()
    }

    /// Comes back when the lock is lost, before its lease ends: no heartbeat succeeded in time, or the service said that the
    /// grant is over. Never comes back once the lock was given back. Put it first in a `biased` select.
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    /// A token that is cancelled when the lock is lost or given back.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.lease.cancellation_token()
    }
}

impl fmt::Debug for LockHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The version is a right: it does not belong into logs.
        f.debug_struct("LockHandle")
            .field("key", &self.lease.key)
            .field("fencing_token", &self.lease.fencing_token)
            .finish_non_exhaustive()
    }
}

/// A lock that is held. It is renewed until it is released or dropped; a drop releases it in the background.
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

    /// Releases the lock; whoever waits is granted it in the same moment. An error [`LockError::Lost`] says that the lock was
    /// not held to the end. Should the service be out of reach it is tried again until the lease is over.
    pub async fn release(self) -> LockResult<()> {
        let lease = &self.handle.lease;
        let until = lease.relied_until();
        // From here on nothing is left to do for the drop.
        let held = lease.end();
        let released = self.renewal.release(lease, until).await;
        if held { released } else { Err(LockError::Lost("the lease ended before the release".to_owned())) }
    }

    /// Stops renewing without releasing: the lock stays held until its lease ends by itself.
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
            // Nobody waits for the answer.
            drop(self.renewal.release_in_background(lease, until));
        }
    }
}
