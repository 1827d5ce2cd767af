//! The body of an answer on its way to the socket.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use crate::http::connection::InFlight;

/// The most that is given to hyper at once, which copies it into its buffer.
pub(super) const PIECE: usize = 64 * 1024;

/// A body in pieces of a bounded size. Its request counts as being answered until hyper has taken the last one.
#[derive(Debug)]
pub(super) struct PacedBody {
    inner: Body,
    /// What is left of a piece that was too large.
    rest: Bytes,
    _in_flight: InFlight,
}

impl PacedBody {
    /// The body of the answer to this request.
    pub(super) const fn new(inner: Body, in_flight: InFlight) -> Self {
        Self { inner, rest: Bytes::new(), _in_flight: in_flight }
    }

    fn piece(&mut self, mut bytes: Bytes) -> Bytes {
        if bytes.len() > PIECE {
            self.rest = bytes.split_off(PIECE);
        }
        bytes
    }
}

impl HttpBody for PacedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if !this.rest.is_empty() {
            let rest = std::mem::take(&mut this.rest);
            return Poll::Ready(Some(Ok(Frame::data(this.piece(rest)))));
        }
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| match frame.into_data() {
                Ok(bytes) => Frame::data(this.piece(bytes)),
                Err(trailers) => trailers,
            })
        }))
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
        let mut body = PacedBody::new(Body::from(whole.clone()), InFlight::new(std::sync::Arc::default()));
        let mut left = whole.len();
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            let bytes = frame.unwrap().into_data().unwrap();
            assert!(bytes.len() <= PIECE);
            left -= bytes.len();
            assert_eq!(body.size_hint().exact(), Some(left as u64));
            assert_eq!(body.is_end_stream(), left == 0);
            read.extend_from_slice(&bytes);
        }
        assert_eq!(read, whole);
    }
}
