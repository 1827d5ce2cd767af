//! Bounds the memory of answers that clients have not read, and of requests over HTTP/2, by closing a connection: of the address with the
//! most bytes, the connection with the most. So an address with many connections loses its own, and not the one of a caller that reads a
//! long list.
//!
//! A client of HTTP/2 controls the flow of its answers, and can leave a thousand of them unread on one connection. It can also send a
//! thousand requests with its first bytes, which wait for turns.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::http::Request;
use db_locks_service::LogLimit;

use crate::http::{connection::Connection, head_memory};

/// The limit for all unread answers and requests over HTTP/2, in bytes. As many requests as may wait in queues take less than half of it.
const MOST_BYTES: usize = 512 * 1024 * 1024;
/// Smaller answers are not counted, since a connection itself takes more. With HTTP/2 [`STREAM_BYTES`] makes all answers count.
const COUNTED_FROM: usize = 2 * 1024;
/// The memory of an answer over HTTP/2 in addition to its body: its stream and its headers.
pub(super) const STREAM_BYTES: usize = 2 * 1024;

static CUT_OFF: LogLimit = LogLimit::new();

/// The memory of a request over HTTP/2 until its stream has ended, in bytes, without its body.
pub(super) fn memory_of<B>(request: &Request<B>) -> usize {
    STREAM_BYTES + head_memory(request.headers())
}

/// The unread answers of all connections, and their requests over HTTP/2.
#[derive(Debug)]
pub(super) struct UnreadAnswers {
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
    /// The bytes that were unread when the connection was cut off.
    cut_off_with: Option<usize>,
}

impl Default for UnreadAnswers {
    fn default() -> Self {
        Self::at_most(MOST_BYTES)
    }
}

impl UnreadAnswers {
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
    pub(super) fn count(self: &Arc<Self>, connection: &Arc<Connection>, bytes: usize) -> Option<Unread> {
        if bytes < COUNTED_FROM {
            return None;
        }
        connection.unread().fetch_add(bytes, Ordering::Relaxed);
        let all = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all > self.most.saturating_add(self.ending.load(Ordering::Relaxed)) {
            self.cut_off_the_greatest();
        }
        Some(Unread { all: Arc::clone(self), connection: Arc::clone(connection), bytes })
    }

    /// The unread bytes of all connections.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn cut_off_the_greatest(&self) {
        let mut registered = self.connections();
        let kept = registered.values_mut().filter(|registered| registered.cut_off_with.is_none());
        let mut connections: Vec<_> =
            kept.filter_map(|kept| Some((kept.connection.upgrade()?, &mut kept.cut_off_with))).collect();
        let unread = |connection: &Connection| connection.unread().load(Ordering::Relaxed);
        let mut by_address: HashMap<IpAddr, usize> = HashMap::new();
        for (connection, _) in &connections {
            *by_address.entry(connection.own_room().network()).or_default() += unread(connection);
        }
        let order = |(connection, _): &&mut (Arc<Connection>, _)| {
            (
                by_address.get(&connection.own_room().network()).copied().unwrap_or_default(),
                unread(connection),
            )
        };
        if let Some((greatest, cut_off_with)) = connections.iter_mut().max_by_key(order) {
            let bytes = unread(greatest);
            if let Some(left_out) = CUT_OFF.pass() {
                let peer = greatest.peer();
                tracing::warn!(%peer, bytes, left_out, "a client leaves too many answers unread, or has too many requests under way; its connection is closed");
            }
            **cut_off_with = Some(bytes);
            self.ending.fetch_add(bytes, Ordering::Relaxed);
            greatest.cut_off();
        }
    }
}

/// A registered connection.
#[derive(Debug)]
pub(super) struct ConnectionRegistration {
    all: Arc<UnreadAnswers>,
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
pub(super) struct Unread {
    all: Arc<UnreadAnswers>,
    connection: Arc<Connection>,
    bytes: usize,
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.connection.unread().fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// A client of HTTP/2 can leave a thousand small answers unread.
    #[test]
    fn an_answer_over_http2_counts_however_small_it_is() {
        let all = Arc::new(UnreadAnswers::at_most(100_000));
        let connection = Connection::for_test(true);
        assert!(all.count(&connection, STREAM_BYTES + 1).is_some());
    }

    #[test]
    fn the_connection_with_the_most_unread_answers_is_cut_off() {
        let all = Arc::new(UnreadAnswers::at_most(100_000));
        let [small, great] = [(); 2].map(|()| Connection::for_test(true));
        let _registrations = [&small, &great].map(|connection| all.register(connection));
        let is_cut = |connection: &Connection| connection.until_cut_off().now_or_never().is_some();
        let mut unread =
            vec![all.count(&small, 40_000), all.count(&great, 30_000), all.count(&great, 30_000)];
        assert!(!is_cut(&small) && !is_cut(&great));
        assert!(all.count(&small, COUNTED_FROM - 1).is_none());
        unread.push(all.count(&small, 3_000));
        assert!(is_cut(&great) && !is_cut(&small));
        drop(unread);
        assert_eq!((all.bytes.load(Ordering::Relaxed), great.unread().load(Ordering::Relaxed)), (0, 0));
    }

    /// The task of a connection that was cut off may take a while to end it.
    #[test]
    fn each_connection_is_cut_off_once() {
        let all = Arc::new(UnreadAnswers::at_most(100_000));
        let [first, second, third] = [(); 3].map(|()| Connection::for_test(true));
        let is_cut = |connection: &Connection| connection.until_cut_off().now_or_never().is_some();
        let mut registrations = [&first, &second, &third].map(|connection| Some(all.register(connection)));
        let unread = [all.count(&first, 60_000), all.count(&second, 50_000), all.count(&third, 40_000)];
        assert!(is_cut(&first) && !is_cut(&second) && !is_cut(&third), "90 kB are left");
        let more = all.count(&third, 15_000);
        assert!(is_cut(&third) && !is_cut(&second), "105 kB were left");
        registrations[0] = None;
        drop((unread, more));
        registrations[2] = None;
        assert_eq!(all.ending.load(Ordering::Relaxed), 0);
    }

    /// Guards a caller that reads a long list against a client that leaves many lists unread, each on a connection of its own.
    #[test]
    fn the_address_with_the_most_unread_answers_loses_a_connection() {
        let all = Arc::new(UnreadAnswers::at_most(100_000));
        let is_cut = |connection: &Connection| connection.until_cut_off().now_or_never().is_some();
        for (flooding, other) in
            [(["192.0.2.1", "192.0.2.1"], "192.0.2.2"), (["2001:db8::1", "2001:db8::2"], "2001:db8:0:1::1")]
        {
            let from = |address: &str| Connection::for_test_from(address.parse().unwrap());
            let (flooding, other) = (flooding.map(from), from(other));
            let _registrations =
                [&flooding[0], &flooding[1], &other].map(|connection| all.register(connection));
            let _unread =
                [all.count(&other, 45_000), all.count(&flooding[0], 30_000), all.count(&flooding[1], 40_000)];
            assert!(is_cut(&flooding[1]) && !is_cut(&flooding[0]) && !is_cut(&other));
        }
    }
}
