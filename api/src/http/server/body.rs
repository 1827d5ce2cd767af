//! The body of an answer while it is sent.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::unread::Unread;
use crate::http::connection::{InFlight, Unconfirmed};

/// The largest piece for hyper, in bytes: it copies each piece into its buffer.
pub(super) const PIECE: usize = 64 * 1024;
/// The first piece with HTTP/2; each later one is twice as large. hyper takes a piece as soon as the client has room for a byte of
/// it, so this way it never holds much more of an answer than the client has read.
pub(super) const FIRST_PIECE: usize = 2 * 1024;

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
    /// Counts the answer as unread until it is dropped.
    _unread: Option<Unread>,
}

impl AnswerBody {
    /// The body of the answer to a request, with its grant. The first piece has at most `first_piece` bytes.
    pub(super) const fn new(
        inner: Body,
        in_flight: Option<InFlight>,
        grant: Option<Unconfirmed>,
        unread: Option<Unread>,
        first_piece: usize,
    ) -> Self {
        Self { inner, rest: Bytes::new(), most: first_piece, grant, in_flight, _unread: unread }
    }

    fn piece(&mut self, mut bytes: Bytes) -> Frame<Bytes> {
        if bytes.len() > self.most {
            self.rest = bytes.split_off(self.most);
        }
        self.most = (2 * self.most).min(PIECE);
        if self.grant.is_some() && self.is_end_stream() {
            self.last_piece_taken();
        }
        Frame::data(bytes)
    }

    fn last_piece_taken(&mut self) {
        if let (Some(grant), Some(in_flight)) = (self.grant.take(), &self.in_flight) {
            in_flight.connection().confirm_when_written(grant);
        }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if !this.rest.is_empty() {
            let rest = std::mem::take(&mut this.rest);
            return Poll::Ready(Some(Ok(this.piece(rest))));
        }
        let Some(frame) = ready!(Pin::new(&mut this.inner).poll_frame(cx)) else {
            this.last_piece_taken();
            return Poll::Ready(None);
        };
        Poll::Ready(Some(frame.map(|frame| match frame.into_data() {
            Ok(bytes) => this.piece(bytes),
            Err(trailers) => trailers,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
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
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_large_body_comes_in_pieces_and_its_length_is_known() {
        let whole: Vec<u8> = (0..=2 * PIECE).map(|index| u8::try_from(index % 251).unwrap()).collect();
        let mut body = AnswerBody::new(Body::from(whole.clone()), None, None, None, FIRST_PIECE);
        let mut most = FIRST_PIECE;
        let mut left = whole.len();
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            let bytes = frame.unwrap().into_data().unwrap();
            assert!(bytes.len() <= most, "{} after {}", bytes.len(), read.len());
            most = (2 * most).min(PIECE);
            left -= bytes.len();
            assert_eq!(body.size_hint().exact(), Some(left as u64));
            assert_eq!(body.is_end_stream(), left == 0);
            read.extend_from_slice(&bytes);
        }
        assert_eq!(read, whole);
    }
}
