//! Counts the requests of a connection.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::Connection;

/// The numbers of a connection's requests.
#[derive(Debug, Default)]
pub(in crate::http) struct RequestCounts {
    /// Number of requests that have arrived.
    arrived: AtomicUsize,
    /// Number of requests whose answer is not complete.
    in_flight: AtomicUsize,
    /// Whether the client has had the time to send further requests on another connection.
    is_left: AtomicBool,
    /// Number of requests in flight that arrived in spite of that. Nothing waits for their answers.
    late: AtomicUsize,
}

impl RequestCounts {
    /// Number of requests that have arrived so far.
    pub(in crate::http) fn arrived(&self) -> usize {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Number of requests that are in flight.
    pub(in crate::http) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts requests that arrive from now on as late.
    pub(in crate::http) fn leave(&self) {
        self.is_left.store(true, Ordering::Relaxed);
    }

    /// Whether requests are in flight that are not late.
    pub(in crate::http) fn has_awaited(&self) -> bool {
        self.in_flight() > self.late.load(Ordering::Relaxed)
    }

    /// Whether a request is being answered.
    pub(in crate::http) fn is_busy(&self) -> bool {
        self.in_flight() > 0
    }

    /// Counts a request that has arrived. Returns whether it is late.
    fn begin(&self) -> bool {
        let is_late = self.is_left.load(Ordering::Relaxed);
        self.arrived.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        if is_late {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
        is_late
    }

    fn end(&self, is_late: bool) {
        if is_late {
            self.late.fetch_sub(1, Ordering::Relaxed);
        }
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a request as in flight until it is dropped: with the answer's body, or with the handler.
#[derive(Debug)]
pub(in crate::http) struct InFlight {
    connection: Arc<Connection>,
    /// Whether it arrived when the client should have sent it on another connection.
    is_late: bool,
}

impl InFlight {
    /// Counts a request that arrived on this connection.
    pub(in crate::http) fn new(connection: Arc<Connection>) -> Self {
        let is_late = connection.requests.begin();
        Self { connection, is_late }
    }

    /// The connection of the request.
    pub(in crate::http) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A shared reference to the connection.
    pub(in crate::http) const fn shared_connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.connection.requests.end(self.is_late);
    }
}
