//! Answers that clients have not read yet: how much memory they take together, and who goes when that is too much.
//!
//! A client of HTTP/2 says how much of an answer it takes, and can have a thousand on a connection of which it takes nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use db_locks_service::LogLimit;

use crate::http::connection::Connection;

/// The most bytes of all unread answers.
const MOST_BYTES: usize = 256 * 1024 * 1024;
/// Smaller answers do not count: a connection takes more by itself. With HTTP/2 all count, by [`STREAM_BYTES`].
const COUNTED_FROM: usize = 2 * 1024;
/// The memory of an answer over HTTP/2 beside its body: its stream and its headers.
pub(super) const STREAM_BYTES: usize = 2 * 1024;

static CUT_OFF: LogLimit = LogLimit::new();

/// The unread answers of all connections.
#[derive(Debug)]
pub(super) struct UnreadAnswers {
    most: usize,
    bytes: AtomicUsize,
    /// By their addresses.
    connections: Mutex<HashMap<usize, Weak<Connection>>>,
}

impl Default for UnreadAnswers {
    fn default() -> Self {
        Self::at_most(MOST_BYTES)
    }
}

impl UnreadAnswers {
    fn at_most(most: usize) -> Self {
        Self { most, bytes: AtomicUsize::new(0), connections: Mutex::default() }
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<usize, Weak<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Knows a connection until what is returned is dropped.
    pub(super) fn join(self: &Arc<Self>, connection: &Arc<Connection>) -> Joined {
        let address = Arc::as_ptr(connection).addr();
        self.connections().insert(address, Arc::downgrade(connection));
        Joined { all: Arc::clone(self), address }
    }

    /// Counts an answer of so many bytes, until what is returned is dropped. If there are too many, the connection that has the
    /// most is cut off.
    pub(super) fn count(self: &Arc<Self>, connection: &Arc<Connection>, bytes: usize) -> Option<Unread> {
        if bytes < COUNTED_FROM {
            return None;
        }
        connection.unread().fetch_add(bytes, Ordering::Relaxed);
        let all = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all > self.most {
            self.cut_off_the_greatest();
        }
        Some(Unread { all: Arc::clone(self), connection: Arc::clone(connection), bytes })
    }

    fn cut_off_the_greatest(&self) {
        let connections: Vec<_> = self.connections().values().filter_map(Weak::upgrade).collect();
        let unread = |connection: &&Arc<Connection>| connection.unread().load(Ordering::Relaxed);
        if let Some(greatest) = connections.iter().max_by_key(unread) {
            if let Some(left_out) = CUT_OFF.pass() {
                let (bytes, peer) = (unread(&greatest), greatest.peer());
                tracing::warn!(%peer, bytes, left_out, "a client leaves too many answers unread; its connection is closed");
            }
            greatest.cut_off();
        }
    }
}

/// A connection that is known.
#[derive(Debug)]
pub(super) struct Joined {
    all: Arc<UnreadAnswers>,
    address: usize,
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.all.connections().remove(&self.address);
    }
}

/// An answer that counts.
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
        let _joined = [&small, &great].map(|connection| all.join(connection));
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
}
