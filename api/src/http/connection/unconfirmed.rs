//! Grants whose answers are not written yet.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use db_locks_service::Delivery;

use super::Connection;

/// The grant of an answer, in the answer's extensions. Dropping it before it is confirmed releases the grant.
#[derive(Clone)]
pub(crate) struct Unconfirmed(Arc<Delivery>);

impl Unconfirmed {
    /// A grant whose answer is about to be sent.
    pub(crate) fn new(delivery: Delivery) -> Self {
        Self(Arc::new(delivery))
    }

    /// Gives the grant back at once: its caller must not have it any more.
    pub(in crate::http) fn withhold(self) {
        if let Some(delivery) = Arc::into_inner(self.0) {
            delivery.withhold();
        }
    }

    /// Confirms the grant: its answer was written to an open connection.
    fn delivered(self) {
        // Nothing clones an answer's extensions, so this is the only reference.
        if let Some(delivery) = Arc::into_inner(self.0) {
            delivery.delivered();
        }
    }
}

/// A grant whose answer is on its way into the write buffer of its connection. Dropping it before the end of the answer is there releases
/// the grant: no client can have read it.
#[derive(Debug)]
pub(in crate::http) struct UnbufferedGrant {
    grant: Unconfirmed,
    connection: Arc<Connection>,
}

impl UnbufferedGrant {
    /// The grant of an answer to a request on this connection.
    pub(in crate::http) const fn new(grant: Unconfirmed, connection: Arc<Connection>) -> Self {
        Self { grant, connection }
    }

    /// Leaves the grant to the socket: the last byte of its answer is in the write buffer, whose bytes are written next.
    pub(in crate::http) fn buffered(self) {
        self.connection.unconfirmed().confirm_when_written(self.grant);
    }
}

/// The grants of a connection whose answers are in the write buffer and not written to the kernel yet. The number of answers that fit
/// into the buffer is the bound.
#[derive(Debug, Default)]
pub(in crate::http) struct UnconfirmedGrants {
    /// Whether there are grants. It saves taking the lock at every flush.
    exist: AtomicBool,
    grants: Mutex<Vec<Unconfirmed>>,
}

impl UnconfirmedGrants {
    /// Keeps a grant until its answer is written or the connection ends.
    fn confirm_when_written(&self, grant: Unconfirmed) {
        self.grants().push(grant);
        self.exist.store(true, Ordering::Relaxed);
    }

    /// Acts as if the answer of a grant was in the buffer.
    #[cfg(test)]
    pub(in crate::http) fn pretend(&self) {
        self.exist.store(true, Ordering::Relaxed);
    }

    /// Whether a grant's answer is not written yet.
    pub(in crate::http) fn exist(&self) -> bool {
        self.exist.load(Ordering::Relaxed)
    }

    /// Marks the grants in the buffer as delivered: their answers have been written to an open connection.
    pub(in crate::http) fn written(&self) {
        self.exist.store(false, Ordering::Relaxed);
        self.grants().drain(..).for_each(Unconfirmed::delivered);
    }

    /// Releases the grants whose answers were not written when the connection ended.
    pub(in crate::http) fn ended(&self) {
        self.exist.store(false, Ordering::Relaxed);
        self.grants().clear();
    }

    fn grants(&self) -> MutexGuard<'_, Vec<Unconfirmed>> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Unconfirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unconfirmed")
    }
}
