//! What a handler may know of the connection that its request came on, and what the connection knows of its requests.

use std::{
    convert::Infallible,
    fmt,
    future::ready,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::{extract::FromRequestParts, http::request::Parts};
use db_locks_service::Delivery;

/// A client's connection, shared by its socket and its requests.
#[derive(Default)]
pub(crate) struct Connection {
    /// Whether the listener that accepted it has a loopback address.
    on_loopback: bool,
    /// The requests that have arrived.
    requests: AtomicUsize,
    /// Those whose answer is not complete.
    in_flight: AtomicUsize,
    /// Whether [`Self::unconfirmed`] holds anything: saves taking the lock at every flush.
    has_unconfirmed: AtomicBool,
    /// The grants whose answers are in the write buffer and not yet in the kernel's hands. Bounded by the answers that
    /// hyper buffers: one a connection.
    unconfirmed: Mutex<Vec<Delivery>>,
}

impl Connection {
    /// A connection that was just accepted.
    pub(crate) fn new(on_loopback: bool) -> Self {
        Self { on_loopback, ..Self::default() }
    }

    /// Whether it came in by a listener with a loopback address.
    pub(crate) const fn is_on_loopback(&self) -> bool {
        self.on_loopback
    }

    /// Keeps a grant until the answer that carries it was written, or the connection ends.
    pub(crate) fn confirm_when_written(&self, delivery: Delivery) {
        self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner).push(delivery);
        self.has_unconfirmed.store(true, Ordering::Relaxed);
    }

    /// Whether a grant waits for its answer to be written.
    pub(crate) fn has_unconfirmed(&self) -> bool {
        self.has_unconfirmed.load(Ordering::Relaxed)
    }

    /// Everything that was buffered has been written to a connection that was open: its grants count as delivered.
    pub(crate) fn written(&self) {
        for delivery in self.take_unconfirmed() {
            delivery.delivered();
        }
    }

    /// The connection has ended: grants whose answers were not written are given back.
    pub(crate) fn ended(&self) {
        drop(self.take_unconfirmed());
    }

    fn take_unconfirmed(&self) -> Vec<Delivery> {
        self.has_unconfirmed.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The requests that have arrived so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether a request is being answered.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("on_loopback", &self.on_loopback)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

/// Counts a request as being answered until it is dropped: with the answer's body, or with the handler.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Connection>);

impl InFlight {
    /// A request has arrived on this connection.
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        connection.requests.fetch_add(1, Ordering::Relaxed);
        connection.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(connection)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connection of a request, as a handler asks for it; `None` where a test calls the routes without a server.
#[derive(Debug)]
pub(crate) struct Client(pub(crate) Option<Arc<Connection>>);

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    fn from_request_parts(parts: &mut Parts, _: &S) -> impl Future<Output = Result<Self, Infallible>> + Send {
        ready(Ok(Self(parts.extensions.get().cloned())))
    }
}
