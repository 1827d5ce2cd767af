//! The body of an answer while it is sent.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::{Body, HttpBody};
use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};

use super::connection_memory::Counted;
use crate::http::connection::{InFlight, Unconfirmed};

/// The largest piece for hyper, in bytes: it copies each piece into its buffer.
pub(super) const PIECE: usize = 64 * 1024;
/// The first piece with HTTP/2; each later one is twice as large. hyper takes a piece as soon as the client has room for a byte of
/// it, so this way it never holds much more of an answer than the client has read.
pub(super) const FIRST_PIECE: usize = 2 * 1024;

/// Bytes of an answer, which hyper and h2 keep until they are written. With HTTP/2 that is when the client has opened its window for them.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    /// In the last piece of an answer: counts the answer as unread until it is dropped.
    _unread: Option<Counted>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
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
    /// The grant in the answer. It counts as delivered once the last piece has been written.
    grant: Option<Unconfirmed>,
    in_flight: Option<InFlight>,
    /// Counts the answer as unread. The last piece takes it along, and an empty one if there is no other.
    unread: Option<Counted>,
}

impl AnswerBody {
    /// The body of the answer to a request, with its grant. The first piece has at most `first_piece` bytes.
    pub(super) const fn new(
        inner: Body,
        in_flight: Option<InFlight>,
        grant: Option<Unconfirmed>,
        unread: Option<Counted>,
        first_piece: usize,
    ) -> Self {
        Self { inner, rest: Bytes::new(), most: first_piece, grant, in_flight, unread }
    }

    fn piece(&mut self, mut bytes: Bytes) -> Frame<Piece> {
        if bytes.len() > self.most {
            self.rest = bytes.split_off(self.most);
        }
        self.most = (2 * self.most).min(PIECE);
        let is_last = self.has_no_more_bytes();
        if is_last && self.grant.is_some() {
            self.last_piece_taken();
        }
        let unread = if is_last { self.unread.take() } else { None };
        Frame::data(Piece { bytes, _unread: unread })
    }

    fn has_no_more_bytes(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn last_piece_taken(&mut self) {
        if let (Some(grant), Some(in_flight)) = (self.grant.take(), &self.in_flight) {
            in_flight.connection().unconfirmed().confirm_when_written(grant);
        }
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
            return Poll::Ready(Some(Ok(this.piece(rest))));
        }
        let Some(frame) = ready!(Pin::new(&mut this.inner).poll_frame(cx)) else {
            this.last_piece_taken();
            let unread = this.unread.take();
            return Poll::Ready(
                unread.map(|unread| Ok(Frame::data(Piece { bytes: Bytes::new(), _unread: Some(unread) }))),
            );
        };
        Poll::Ready(Some(frame.map(|frame| match frame.into_data() {
            Ok(bytes) => this.piece(bytes),
            Err(other) => other.map_data(|bytes| Piece { bytes, _unread: None }),
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
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt;

    use super::*;
    use crate::http::{connection::Connection, server::connection_memory::ConnectionMemory};

    #[tokio::test]
    async fn a_large_body_comes_in_pieces_and_its_length_is_known() {
        let whole: Vec<u8> = (0..=2 * PIECE).map(|index| u8::try_from(index % 251).unwrap()).collect();
        let mut body = AnswerBody::new(Body::from(whole.clone()), None, None, None, FIRST_PIECE);
        let mut most = FIRST_PIECE;
        let mut left = whole.len();
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            let bytes = frame.unwrap().into_data().unwrap().bytes;
            assert!(bytes.len() <= most, "{} after {}", bytes.len(), read.len());
            most = (2 * most).min(PIECE);
            left -= bytes.len();
            assert_eq!(body.size_hint().exact(), Some(left as u64));
            assert_eq!(body.is_end_stream(), left == 0);
            read.extend_from_slice(&bytes);
        }
        assert_eq!(read, whole);
    }

    #[tokio::test]
    async fn a_counted_answer_is_unread_until_its_last_piece_is_dropped() {
        for (bytes, pieces) in [(0, 1), (10, 1), (10 * FIRST_PIECE, 4)] {
            let all = Arc::<ConnectionMemory>::default();
            let unread = all.count(&Connection::for_test(true), FIRST_PIECE);
            let mut body = AnswerBody::new(Body::from(vec![b' '; bytes]), None, None, unread, FIRST_PIECE);
            let mut frames = Vec::new();
            while !body.is_end_stream() {
                frames.push(body.frame().await.unwrap().unwrap());
            }
            drop(body);
            assert_eq!((frames.len(), all.bytes()), (pieces, FIRST_PIECE));
            drop(frames.pop());
            assert_eq!(all.bytes(), 0);
        }
    }
}
