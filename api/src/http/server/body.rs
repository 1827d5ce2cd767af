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
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt;

    use super::*;
    use crate::http::{
        connection::Connection,
        server::{connection_memory::ConnectionMemory, tests::grants::Locks},
    };

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

    #[tokio::test]
    async fn a_grant_is_left_to_the_socket_with_the_last_byte_of_its_answer() {
        let locks = Locks::start().await;
        for bytes in [1, LAST_PIECE_OF_GRANT, LAST_PIECE_OF_GRANT + 1, FIRST_PIECE, 10 * FIRST_PIECE] {
            let connection = Connection::for_test(true);
            let grant = UnbufferedGrant::new(locks.grant("k").await, Arc::clone(&connection));
            let mut body =
                AnswerBody::new(Body::from(vec![b' '; bytes]), None, Some(grant), None, FIRST_PIECE);
            let mut pieces = Vec::new();
            while !body.is_end_stream() {
                pieces.push(body.frame().await.unwrap().unwrap().into_data().unwrap());
            }
            drop(body);
            let mut last = pieces.pop().unwrap();
            for mut piece in pieces {
                piece.advance(piece.remaining());
            }
            assert!(last.remaining() <= LAST_PIECE_OF_GRANT);
            last.advance(last.remaining() - 1);
            assert!(!connection.unconfirmed().exist());
            last.advance(1);
            assert!(connection.unconfirmed().exist());
            connection.unconfirmed().ended();
            assert!(locks.is_free("k", true).await, "nothing was written");
        }
    }

    #[tokio::test]
    async fn a_grant_is_given_back_if_its_last_piece_is_dropped_before() {
        let locks = Locks::start().await;
        let connection = Connection::for_test(true);
        let grant = UnbufferedGrant::new(locks.grant("k").await, Arc::clone(&connection));
        let mut body = AnswerBody::new(Body::from("grant"), None, Some(grant), None, FIRST_PIECE);
        let mut last = body.frame().await.unwrap().unwrap().into_data().unwrap();
        last.advance(1);
        drop((body, last));
        assert!(!connection.unconfirmed().exist() && locks.is_free("k", true).await);
    }
}
