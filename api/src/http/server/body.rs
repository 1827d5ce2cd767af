//! The body of an answer while it is sent.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::{Body, HttpBody};
use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};

use super::connection_memory::Counted;
use crate::http::connection::{InFlight, UnbufferedGrant};

/// The largest piece for hyper, in bytes: it copies each piece into its buffer.
pub(super) const PIECE: usize = 64 * 1024;
/// The first piece with HTTP/2; each later one is twice as large. hyper takes a piece before the client has room for it, and the next one
/// as soon as there was room for a byte of the last one. So this way it never holds much more of an answer than the client has read.
pub(super) const FIRST_PIECE: usize = 2 * 1024;
/// The most bytes of the last piece of an answer with a grant. h2 copies frames of less than 1 KiB into its buffer before it writes them,
/// and writes larger ones from where they are. So no byte of the last piece is written before its grant is left to the socket.
const LAST_PIECE_OF_GRANT: usize = 1_000;

/// Bytes of an answer, which hyper and h2 keep until they are written. With HTTP/2 that is when the client has opened its window for them.
///
/// h2 drops pieces that it has not copied into its buffer when their stream is reset or their connection ends.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    /// In the last piece of an answer, until hyper or h2 has copied its last byte: the grant in the answer.
    grant: Option<UnbufferedGrant>,
    /// In the last piece of an answer: counts the answer as unread until it is dropped.
    _unread: Option<Counted>,
}

impl Piece {
    fn new(bytes: Bytes) -> Self {
        Self { bytes, grant: None, _unread: None }
    }

    /// The last piece of an answer.
    fn last(bytes: Bytes, grant: Option<UnbufferedGrant>, unread: Option<Counted>) -> Self {
        let mut piece = Self { bytes, grant, _unread: unread };
        piece.leave_grant_at_end();
        piece
    }

    fn leave_grant_at_end(&mut self) {
        if !self.bytes.has_remaining()
            && let Some(grant) = self.grant.take()
        {
            grant.buffered();
        }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    /// hyper and h2 call this when they have copied the bytes.
    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.leave_grant_at_end();
    }
}

/// A body in pieces of a bounded size. Its request is in flight until hyper has taken the last piece.
#[derive(Debug)]
pub(super) struct AnswerBody {
    inner: Body,
    /// The rest of a piece that was too large.
    rest: Bytes,
    /// The largest size of the next piece, in bytes.
    most: usize,
    /// The grant in the answer. The last piece takes it along.
    grant: Option<UnbufferedGrant>,
    _in_flight: Option<InFlight>,
    /// Counts the answer as unread. The last piece takes it along, and an empty one if there is no other.
    unread: Option<Counted>,
}

impl AnswerBody {
    /// The body of the answer to a request, with its grant. The first piece has at most `first_piece` bytes.
    pub(super) const fn new(
        inner: Body,
        in_flight: Option<InFlight>,
        grant: Option<UnbufferedGrant>,
        unread: Option<Counted>,
        first_piece: usize,
    ) -> Self {
        Self { inner, rest: Bytes::new(), most: first_piece, grant, _in_flight: in_flight, unread }
    }

    fn piece(&mut self, mut bytes: Bytes) -> Piece {
        let most = if self.grant.is_some() && bytes.len() > LAST_PIECE_OF_GRANT {
            self.most.min(bytes.len() - LAST_PIECE_OF_GRANT)
        } else {
            self.most
        };
        if bytes.len() > most {
            self.rest = bytes.split_off(most);
        }
        self.most = (2 * self.most).min(PIECE);
        if self.has_no_more_bytes() { self.last_piece(bytes) } else { Piece::new(bytes) }
    }

    fn last_piece(&mut self, bytes: Bytes) -> Piece {
        Piece::last(bytes, self.grant.take(), self.unread.take())
    }

    fn has_no_more_bytes(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }
}

impl HttpBody for AnswerBody {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let this = &mut *self;
        if !this.rest.is_empty() {
            let rest = std::mem::take(&mut this.rest);
            return Poll::Ready(Some(Ok(Frame::data(this.piece(rest)))));
        }
        let Some(frame) = ready!(Pin::new(&mut this.inner).poll_frame(cx)) else {
            let is_left = this.grant.is_some() || this.unread.is_some();
            return Poll::Ready(is_left.then(|| Ok(Frame::data(this.last_piece(Bytes::new())))));
        };
        Poll::Ready(Some(frame.map(|frame| match frame.into_data() {
            Ok(bytes) => Frame::data(this.piece(bytes)),
            Err(other) => other.map_data(Piece::new),
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.has_no_more_bytes() && self.unread.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // Otherwise hyper would add a length to answers that must not have one.
        if self.has_no_more_bytes() && self.unread.is_some() {
            return SizeHint::default();
        }
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let mut hint = self.inner.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

#[cfg(test)]
mod tests;
