//! Bounds the memory of answers that clients have not read, and of requests over HTTP/2, by closing a connection: of the address with the
//! most bytes, the connection with the most. So an address with many connections loses its own, and not the one of a caller that reads a
//! long list.
//!
//! A client of HTTP/2 controls the flow of its answers, and can leave a thousand of them unread on one connection. It can also send a
//! thousand requests with its first bytes, which wait for turns. Nobody needs a credential for that, but for requests that wait for a lock.
//! So these count only if there is not much else, and nobody without a credential can have the connections of others closed.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::http::{HeaderValue, Request, header};
use db_locks_service::LogLimit;

use crate::http::{connection::Connection, head_memory};

/// The limit for all unread answers and requests over HTTP/2, in bytes.
const MOST_BYTES: usize = 512 * 1024 * 1024;
/// If this part of the limit (a quarter) is unread, requests that wait do not count. As many of them as may wait by default (50,000) take
/// less than the rest, unless their paths and tokens have kilobytes.
const MUCH: usize = 4;
/// Smaller answers are not counted, since a connection itself takes more. With HTTP/2 [`STREAM_BYTES`] makes all answers count.
const COUNTED_FROM: usize = 2 * 1024;
/// The memory of an answer over HTTP/2 in addition to its body: its stream and its headers.
pub(super) const STREAM_BYTES: usize = 2 * 1024;
/// The memory of a request over HTTP/2 in addition to its head and body: its stream, and what the service does for it.
const REQUEST_BYTES: usize = 5 * 1024;

static CUT_OFF: LogLimit = LogLimit::new();

/// The bytes of a request's body that were read. Its data stays in memory until the request is answered.
pub(super) type BodyBytes = Arc<AtomicUsize>;

/// The memory of a request over HTTP/2, in bytes.
#[derive(Debug)]
pub(super) struct RequestMemory {
    /// The bytes until it begins.
    unread: usize,
    /// The bytes while it waits for an answer, without its body.
    waiting: usize,
    /// `None` without a body.
    body: Option<BodyBytes>,
}

impl RequestMemory {
    /// The bytes while it waits for an answer.
    #[cfg(test)]
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// The memory of this request. `head_on_the_wire` is the length of the longest head of its connection: until a request begins, its
    /// path keeps the bytes of its whole head in memory. Then only its path and its credential are left, in memory of their own.
    pub(super) fn of<B>(request: &Request<B>, head_on_the_wire: usize, body: Option<BodyBytes>) -> Self {
        let credential = request.headers().get(header::AUTHORIZATION).map_or(0, HeaderValue::len);
        Self {
            unread: REQUEST_BYTES + head_on_the_wire + head_memory(request.uri(), request.headers()),
            waiting: REQUEST_BYTES + request.uri().path().len() + credential,
            body,
        }
    }
}

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
    /// The bytes that it had when it was cut off.
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

    /// Counts `bytes` bytes of an answer or a request until the returned value is dropped. If the limit is exceeded, a connection is closed.
    pub(super) fn count(self: &Arc<Self>, connection: &Arc<Connection>, bytes: usize) -> Option<Counted> {
        if bytes < COUNTED_FROM {
            return None;
        }
        connection.unread().fetch_add(bytes, Ordering::Relaxed);
        self.add(bytes);
        let (all, connection) = (Arc::clone(self), Arc::clone(connection));
        Some(Counted { all, connection, bytes, waiting: bytes, body: None, waits: false })
    }

    /// Adds to the bytes of all connections. If the limit is exceeded, a connection is closed.
    fn add(&self, bytes: usize) {
        let all = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all > self.most.saturating_add(self.ending.load(Ordering::Relaxed)) {
            self.cut_off_the_greatest();
        }
    }

    /// Counts a request until the returned value is dropped.
    pub(super) fn count_request(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        memory: RequestMemory,
    ) -> Option<Counted> {
        let mut counted = self.count(connection, memory.unread)?;
        counted.waiting = memory.waiting;
        counted.body = memory.body;
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

    fn cut_off_the_greatest(&self) {
        let mut registered = self.connections();
        let kept = registered.values_mut().filter(|registered| registered.cut_off_with.is_none());
        let mut connections: Vec<_> = kept
            .filter_map(|kept| {
                let connection = kept.connection.upgrade()?;
                let [unread, waiting] =
                    [connection.unread(), connection.waiting()].map(|bytes| bytes.load(Ordering::Relaxed));
                Some((connection, unread, waiting, &mut kept.cut_off_with))
            })
            .collect();
        let unread: usize = connections.iter().map(|(_, unread, ..)| unread).sum();
        let is_much = unread >= self.most / MUCH;
        let counted = |unread, waiting| if is_much { unread } else { unread + waiting };
        let mut by_address: HashMap<IpAddr, usize> = HashMap::new();
        for (connection, unread, waiting, _) in &connections {
            *by_address.entry(connection.own_room().network()).or_default() += counted(*unread, *waiting);
        }
        let order = |(connection, unread, waiting, _): &&mut (Arc<Connection>, usize, usize, _)| {
            let of_address = by_address.get(&connection.own_room().network()).copied().unwrap_or_default();
            (of_address, counted(*unread, *waiting))
        };
        if let Some((greatest, unread, waiting, cut_off_with)) = connections.iter_mut().max_by_key(order) {
            if let Some(left_out) = CUT_OFF.pass() {
                let peer = greatest.peer();
                tracing::warn!(%peer, unread, waiting, left_out, "a client leaves too many answers unread, or has too many requests under way; its connection is closed");
            }
            let bytes = *unread + *waiting;
            **cut_off_with = Some(bytes);
            self.ending.fetch_add(bytes, Ordering::Relaxed);
            greatest.cut_off();
        }
    }
}

/// A registered connection.
#[derive(Debug)]
pub(super) struct ConnectionRegistration {
    all: Arc<ConnectionMemory>,
    address: usize,
}

impl Drop for ConnectionRegistration {
    fn drop(&mut self) {
        let removed = self.all.connections().remove(&self.address);
        let ended = removed.and_then(|registered| registered.cut_off_with).unwrap_or_default();
        self.all.ending.fetch_sub(ended, Ordering::Relaxed);
    }
}

/// A counted answer, which goes where its last bytes go (`super::body::Piece`), or a counted request, which goes where its stream goes.
#[derive(Debug)]
pub(super) struct Counted {
    all: Arc<ConnectionMemory>,
    connection: Arc<Connection>,
    bytes: usize,
    /// The bytes from when it waits, without its body.
    waiting: usize,
    body: Option<BodyBytes>,
    /// Whether it is a request that has begun and has no answer.
    waits: bool,
}

impl Counted {
    /// Notes whether it is a request that has begun and has no answer.
    pub(super) fn set_waits(&mut self, waits: bool) {
        // An invented credential may be looked up for seconds, which is no wait for a lock.
        let waits = waits && self.connection.is_known();
        let body = self.body.as_ref().map_or(0, |body| body.load(Ordering::Relaxed));
        // What is left of a request that has begun grows only with its body.
        let bytes = self.waiting + body;
        if self.waits != waits || (body > 0 && self.bytes != bytes) {
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
