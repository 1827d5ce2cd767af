//! Large answers: how much memory those take that clients have not read yet.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, HttpBody},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use db_locks_service::Unavailable;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// What is counted of an answer: so many bytes at a time. Smaller answers are bounded by the number of connections.
const UNIT: u64 = 64 * 1024;
/// The most that all large answers together may have: 128 MiB.
const UNITS: usize = 2_048;

/// Bounds the bytes of large answers that are being sent.
#[derive(Debug)]
pub(super) struct LargeAnswers(Arc<Semaphore>);

impl Default for LargeAnswers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(UNITS)))
    }
}

impl LargeAnswers {
    /// The answer as it is if there is room for it, else 503.
    pub(super) fn admit(&self, response: Response) -> Response {
        let bytes = response.body().size_hint().lower();
        if bytes <= UNIT {
            return response;
        }
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        match self.0.clone().try_acquire_many_owned(units) {
            Ok(room) => response.map(|inner| Body::new(LargeBody { inner, _room: room })),
            Err(_) => Problem::from(Unavailable::LargeAnswers).into_response(),
        }
    }
}

/// A large body, which makes room for others when it was sent or given up.
struct LargeBody {
    inner: Body,
    _room: OwnedSemaphorePermit,
}

impl HttpBody for LargeBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_answers_wait_for_room_and_small_ones_do_not() {
        let large = LargeAnswers::default();
        let answer = |bytes: usize| large.admit(Response::new(Body::from(vec![b' '; bytes])));
        let page = 4 * 1024 * 1024;
        let mut sent: Vec<_> = (0..32).map(|_| answer(page)).collect();
        assert!(sent.iter().all(|response| response.status() == 200));
        assert_eq!(answer(page).status(), 503);
        assert_eq!(answer(1_024).status(), 200);
        sent.pop();
        assert_eq!(answer(page).status(), 200);
    }
}
