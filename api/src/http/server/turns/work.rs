//! The bytes that a connection reads and writes in its turn.
//!
//! A head, a body or an answer may take as long as many requests. So its bytes count, and a turn ends when they are many.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use super::MOST;

/// So many bytes, read or written, take as long as a request, at most. Long credentials are hashed, and bodies are parsed. Heads of other
/// requests and answers take less time.
pub(in crate::http::server) const BYTES_OF_REQUEST: usize = 4 * 1024;
/// The bytes of a turn. Those of the last piece come on top.
pub(in crate::http::server) const MOST_BYTES: usize = MOST * BYTES_OF_REQUEST;

/// The work of a connection in its turn, which its socket counts.
///
/// The connection's task alone changes it, so loads and stores are enough.
#[derive(Debug, Clone, Default)]
pub(in crate::http::server) struct Work(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicUsize,
    is_long: AtomicBool,
    has_more: AtomicBool,
}

impl Work {
    /// Counts bytes that were read or written.
    pub(in crate::http::server) fn add(&self, bytes: usize) {
        let before = self.0.bytes.load(Ordering::Relaxed);
        self.0.bytes.store(before.saturating_add(bytes), Ordering::Relaxed);
    }

    /// Ready when the connection may read or write. Otherwise its turn ends.
    pub(in crate::http::server) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.0.bytes.load(Ordering::Relaxed) < MOST_BYTES {
            return Poll::Ready(());
        }
        self.end_turn(cx);
        Poll::Pending
    }

    /// Ends the turn, although there may be more to read or to write. The connection is polled again for that.
    pub(in crate::http::server) fn end_turn(&self, cx: &Context<'_>) {
        self.0.has_more.store(true, Ordering::Relaxed);
        cx.waker().wake_by_ref();
    }

    /// Ends the turn after frames that take as long as the most requests of a turn.
    pub(in crate::http::server) fn end_long_turn(&self, cx: &Context<'_>) {
        self.0.is_long.store(true, Ordering::Relaxed);
        self.end_turn(cx);
    }

    /// Whether the turn was ended so.
    pub(in crate::http::server) fn has_more(&self) -> bool {
        self.0.has_more.load(Ordering::Relaxed)
    }

    /// The number of requests that take as long as the bytes and frames of the turn.
    pub(super) fn requests(&self) -> usize {
        let of_frames = if self.0.is_long.load(Ordering::Relaxed) { MOST } else { 0 };
        of_frames.max(self.0.bytes.load(Ordering::Relaxed) / BYTES_OF_REQUEST)
    }

    /// Begins to count the next turn.
    pub(super) fn clear(&self) {
        self.0.bytes.store(0, Ordering::Relaxed);
        self.0.is_long.store(false, Ordering::Relaxed);
        self.0.has_more.store(false, Ordering::Relaxed);
    }
}
