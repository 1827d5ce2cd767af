//! The body of a request, which may not be read to its end.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};

use crate::http::connection::Connection;

/// A body that notes on its connection if it is dropped before its end.
#[derive(Debug)]
pub(super) struct RequestBody {
    inner: Incoming,
    has_ended: bool,
    connection: Arc<Connection>,
}

impl RequestBody {
    /// The body of a request on this connection.
    pub(super) const fn new(inner: Incoming, connection: Arc<Connection>) -> Self {
        Self { inner, has_ended: false, connection }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        self.has_ended = frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.has_ended && !self.inner.is_end_stream() {
            self.connection.leave_body();
        }
    }
}
