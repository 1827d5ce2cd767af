//! The answer that carries a new grant, and knows whether it left.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, HttpBody},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use db_locks_service::Delivery;
use hyper::body::{Frame, SizeHint};

use super::{GrantBody, json_bytes, json_response};
use crate::{
    http::{Client, Connection},
    problem::Problem,
};

/// The most that is handed on at once.
const PIECE: usize = 64 * 1024;

/// Answers a grant with 200. The grant counts as delivered once its whole answer has been written to a connection that was
/// open; a connection that ends before drops the delivery, which gives the grant back.
pub(crate) fn granted(delivery: Delivery, Client(connection): Client) -> Response {
    match json_bytes(&GrantBody::from(delivery.view())) {
        Ok(unsent) => json_response(Body::new(GrantAnswer { unsent, delivery: Some(delivery), connection })),
        Err(_) => Problem::internal_error().into_response(),
    }
}

/// The answer of a grant, and the delivery that goes with its last piece.
struct GrantAnswer {
    unsent: Bytes,
    delivery: Option<Delivery>,
    connection: Option<Arc<Connection>>,
}

impl GrantAnswer {
    /// The rest is on its way.
    fn hand_on(&mut self) {
        match (self.delivery.take(), &self.connection) {
            (Some(delivery), Some(connection)) => connection.confirm_when_written(delivery),
            (Some(delivery), None) => delivery.delivered(),
            (None, _) => {}
        }
    }
}

impl HttpBody for GrantAnswer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.unsent.is_empty() {
            return Poll::Ready(None);
        }
        let size = self.unsent.len().min(PIECE);
        let piece = self.unsent.split_to(size);
        if self.unsent.is_empty() {
            self.hand_on();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.unsent.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.unsent.len()).unwrap_or(u64::MAX))
    }
}
