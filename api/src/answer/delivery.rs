//! The answer that carries a new grant, and knows whether it left.

use std::{
    convert::Infallible,
    pin::Pin,
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
use crate::problem::Problem;

/// Answers a grant with 200. The grant counts as delivered once the connection has taken the body; a connection that
/// goes before drops the body, and with it the delivery, which gives the grant back.
pub(crate) fn granted(delivery: Delivery) -> Response {
    match json_bytes(&GrantBody::from(delivery.view())) {
        Ok(bytes) => json_response(Body::new(DeliveryBody { unsent: Some((bytes, delivery)) })),
        Err(_) => Problem::internal_error().into_response(),
    }
}

/// A body of one piece, with what has to be told when it was taken.
struct DeliveryBody {
    unsent: Option<(Bytes, Delivery)>,
}

impl HttpBody for DeliveryBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.unsent.take().map(|(bytes, delivery)| {
            delivery.delivered();
            Ok(Frame::data(bytes))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.unsent.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.unsent.as_ref().map_or(0, |(bytes, _)| bytes.len());
        SizeHint::with_exact(u64::try_from(left).unwrap_or(u64::MAX))
    }
}
