//! Bounds the memory of large answers that clients have not read yet.

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

/// The unit in which answers are counted, in bytes. The number of connections bounds smaller answers.
const UNIT: u64 = 64 * 1024;
/// The limit for all large answers together: 128 MiB.
const UNITS: usize = 2_048;

/// The limit for the metrics: 16 MiB.
const METRICS_UNITS: usize = 256;

/// Says, in the extensions of an answer, that its body is not counted with the other large answers. Such an answer needs no
/// credential, and unread answers without a credential must not use up the room of callers with one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BodyMemory {
    /// All answers share the bytes, which are always in memory.
    Shared,
    /// The body is the metrics, which have a limit of their own.
    Metrics,
}

/// Bounds the bytes of large answers that are being sent.
#[derive(Debug)]
pub(super) struct LargeAnswers {
    room: Arc<Semaphore>,
    room_for_metrics: Arc<Semaphore>,
}

impl Default for LargeAnswers {
    fn default() -> Self {
        let room = |units| Arc::new(Semaphore::new(units));
        Self { room: room(UNITS), room_for_metrics: room(METRICS_UNITS) }
    }
}

impl LargeAnswers {
    /// Returns the answer if there is room for it, otherwise 503.
    pub(super) fn admit(&self, response: Response) -> Response {
        let bytes = response.body().size_hint().lower();
        if bytes <= UNIT {
            return response;
        }
        let room = match response.extensions().get::<BodyMemory>() {
            Some(BodyMemory::Shared) => return response,
            Some(BodyMemory::Metrics) => &self.room_for_metrics,
            None => &self.room,
        };
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        match room.clone().try_acquire_many_owned(units) {
            Ok(room) => response.map(|inner| Body::new(LargeBody { inner, _room: room })),
            Err(_) => Problem::from(Unavailable::LargeAnswers).into_response(),
        }
    }
}

/// A large body. It frees its room when it was sent or dropped.
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

    /// Otherwise clients without a credential could block lists and metrics by documents that they do not read.
    #[test]
    fn documents_and_metrics_take_no_room_from_others() {
        let large = LargeAnswers::default();
        let page = Bytes::from(vec![b' '; 4 * 1024 * 1024]);
        let answer = |memory: Option<BodyMemory>| {
            let mut response = Response::new(Body::from(page.clone()));
            if let Some(memory) = memory {
                response.extensions_mut().insert(memory);
            }
            large.admit(response)
        };
        let documents: Vec<_> = (0..100).map(|_| answer(Some(BodyMemory::Shared))).collect();
        assert!(documents.iter().all(|response| response.status() == 200));
        let metrics: Vec<_> = (0..100).map(|_| answer(Some(BodyMemory::Metrics))).collect();
        assert_eq!(metrics.iter().filter(|response| response.status() == 200).count(), 4);
        assert_eq!(answer(None).status(), 200);
    }
}
