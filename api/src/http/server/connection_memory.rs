//! Bounds the memory of answers that clients have not read, and of requests over HTTP/2, by closing connections: [`victims()`] says which.
//!
//! A client of HTTP/2 controls the flow of its answers, and can leave a thousand of them unread on one connection. It can also send a
//! thousand requests with its first bytes, which wait for turns. Nobody needs a credential for that, but for requests that wait for a lock.

mod request_memory;
mod victims;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use db_locks_service::LogLimit;

pub(super) use self::request_memory::{BodyBytes, RequestMemory};
use self::victims::{Held, victims};
use crate::http::connection::Connection;

/// The limit for all unread answers and requests over HTTP/2, in bytes.
const MOST_BYTES: usize = 512 * 1024 * 1024;
/// Smaller answers are not counted, since a connection itself takes more. With HTTP/2 [`STREAM_BYTES`] makes all answers count.
const COUNTED_FROM: usize = 2 * 1024;
/// The memory of an answer over HTTP/2 in addition to its body: its stream and its headers.
pub(super) const STREAM_BYTES: usize = 2 * 1024;
static CUT_OFF: LogLimit = LogLimit::new();

/// The memory of all connections: their unread answers, and their requests over HTTP/2.
#[derive(Debug)]
pub(super) struct ConnectionMemory {
    most: usize,
    bytes: AtomicUsize,
    /// The bytes of connections that were cut off and have not ended. They are as good as gone.
    ending: AtomicUsize,
    /// The connections by their addresses in memory.
    connections: Mutex<HashMap<usize, Registered>>,
}

#[derive(Debug)]
struct Registered {
    connection: Weak<Connection>,
    /// The bytes that it had when they were last looked at, if it was cut off.
    cut_off_with: Option<usize>,
}

impl Default for ConnectionMemory {
    fn default() -> Self {
        Self::at_most(MOST_BYTES)
    }
}

impl ConnectionMemory {
    fn at_most(most: usize) -> Self {
        let [bytes, ending] = [0; 2].map(AtomicUsize::new);
        Self { most, bytes, ending, connections: Mutex::default() }
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<usize, Registered>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a connection until the returned value is dropped.
    pub(super) fn register(self: &Arc<Self>, connection: &Arc<Connection>) -> ConnectionRegistration {
        let address = Arc::as_ptr(connection).addr();
        let registered = Registered { connection: Arc::downgrade(connection), cut_off_with: None };
        self.connections().insert(address, registered);
        ConnectionRegistration { all: Arc::clone(self), address }
    }

    /// Counts `bytes` bytes of an answer or a request until the returned value is dropped. If the limit is exceeded, connections are closed.
    pub(super) fn count(self: &Arc<Self>, connection: &Arc<Connection>, bytes: usize) -> Option<Counted> {
        if bytes < COUNTED_FROM {
            return None;
        }
        connection.unread().fetch_add(bytes, Ordering::Relaxed);
        self.add(bytes);
        let (all, connection) = (Arc::clone(self), Arc::clone(connection));
        Some(Counted { all, connection, bytes, request: None, waits: false })
    }

    /// Adds to the bytes of all connections. If the limit is exceeded, connections are closed.
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.is_full() {
            self.cut_off_the_greatest();
        }
    }

    fn is_full(&self) -> bool {
        let ending = self.ending.load(Ordering::Relaxed);
        self.bytes.load(Ordering::Relaxed) > self.most.saturating_add(ending)
    }

    /// Counts a request until the returned value is dropped.
    pub(super) fn count_request(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        memory: RequestMemory,
    ) -> Option<Counted> {
        let mut counted = self.count(connection, memory.arrived())?;
        counted.request = Some(memory);
        Some(counted)
    }

    /// The bytes of all connections.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The bytes of requests that have begun and have no answer.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        let registered = self.connections();
        let connections = registered.values().filter_map(|registered| registered.connection.upgrade());
        connections.map(|connection| connection.waiting().load(Ordering::Relaxed)).sum()
    }

    /// Closes the connections that have to go: several at a time, since each time all are looked at.
    fn cut_off_the_greatest(&self) {
        let mut registered = self.connections();
        if !self.is_full() {
            // Another thread has just done it.
            return;
        }
        let (mut ending, mut kept, mut held) = (0, Vec::new(), Vec::new());
        for Registered { connection, cut_off_with } in registered.values_mut() {
            let Some(connection) = connection.upgrade() else {
                // It has just ended.
                *cut_off_with = None;
                continue;
            };
            let of_it = Held::by(&connection);
            if let Some(bytes) = cut_off_with {
                // It may have freed a part, or read more in its last turn.
                *bytes = of_it.bytes();
                ending += *bytes;
            } else if of_it.bytes() > 0 {
                kept.push((connection, cut_off_with));
                held.push(of_it);
            }
        }
        for index in victims(&held, self.most) {
            let ((connection, cut_off_with), held) = (&mut kept[index], held[index]);
            cut_off(connection, held);
            **cut_off_with = Some(held.bytes());
            ending += held.bytes();
        }
        self.ending.store(ending, Ordering::Relaxed);
    }
}

fn cut_off(connection: &Connection, Held { unread, waiting, .. }: Held) {
    if let Some(left_out) = CUT_OFF.pass() {
        let peer = connection.peer();
        tracing::warn!(%peer, unread, waiting, left_out, "a client leaves too many answers unread, or has too many requests under way; its connection is closed");
    }
    connection.cut_off();
}

/// A registered connection.
#[derive(Debug)]
pub(super) struct ConnectionRegistration {
    all: Arc<ConnectionMemory>,
    address: usize,
}

impl Drop for ConnectionRegistration {
    fn drop(&mut self) {
        let mut connections = self.all.connections();
        let removed = connections.remove(&self.address);
        let ended = removed.and_then(|registered| registered.cut_off_with).unwrap_or_default();
        // While nobody sums them up.
        self.all.ending.fetch_sub(ended, Ordering::Relaxed);
    }
}

/// A counted answer, which goes where its last bytes go (`super::body::Piece`), or a counted request, which goes where its stream goes.
#[derive(Debug)]
pub(super) struct Counted {
    all: Arc<ConnectionMemory>,
    connection: Arc<Connection>,
    bytes: usize,
    /// `None` for an answer.
    request: Option<RequestMemory>,
    /// Whether it is a request that has begun and has no answer.
    waits: bool,
}

impl Counted {
    /// Notes whether it is a request that has begun and has no answer, or one that has an answer.
    pub(super) fn set_waits(&mut self, is_unanswered: bool) {
        // An invented credential may be looked up for seconds, which is no wait for a lock.
        let waits = is_unanswered && self.connection.is_known();
        let bytes = match &self.request {
            Some(request) => request.begun(is_unanswered && !waits),
            None => self.bytes,
        };
        if (self.bytes, self.waits) != (bytes, waits) {
            self.counter().fetch_sub(self.bytes, Ordering::Relaxed);
            self.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
            (self.bytes, self.waits) = (bytes, waits);
            self.counter().fetch_add(bytes, Ordering::Relaxed);
            self.all.add(bytes);
        }
    }

    fn counter(&self) -> &AtomicUsize {
        if self.waits { self.connection.waiting() } else { self.connection.unread() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.counter().fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
