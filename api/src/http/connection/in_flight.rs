//! Counts the requests of a connection that are in flight.

use std::sync::{Arc, atomic::Ordering};

use super::Connection;

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
        let is_late = connection.is_left.load(Ordering::Relaxed);
        connection.requests.fetch_add(1, Ordering::Relaxed);
        connection.in_flight.fetch_add(1, Ordering::Relaxed);
        if is_late {
            connection.late.fetch_add(1, Ordering::Relaxed);
        }
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
        if self.is_late {
            self.connection.late.fetch_sub(1, Ordering::Relaxed);
        }
        self.connection.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
