//! The body of a request, which may not be read to its end.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};

use super::connection_memory::BodyBytes;
use crate::http::connection::Connection;

/// A body that notes on its connection if it is dropped before its end.
#[derive(Debug)]
pub(super) struct RequestBody {
    inner: Incoming,
    has_ended: bool,
    connection: Arc<Connection>,
    /// Counts what was read.
    bytes: Option<BodyBytes>,
}

impl RequestBody {
    /// The body of a request on this connection.
    pub(super) const fn new(inner: Incoming, connection: Arc<Connection>, bytes: Option<BodyBytes>) -> Self {
        Self { inner, has_ended: false, connection, bytes }
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
        if let (Some(bytes), Some(Ok(frame))) = (&self.bytes, &frame) {
            bytes.fetch_add(frame.data_ref().map_or(0, Bytes::len), Ordering::Relaxed);
        }
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
