//! Limits the room of long pages while they are sent; `server/connection_memory.rs` limits unread answers in general.

use std::{
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, HttpBody},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use db_locks_service::{Unavailable, domain::Tenant};
use hyper::body::{Frame, SizeHint};

use crate::{
    http::shared_room::{Share, SharedRoom},
    problem::Problem,
};

/// The unit in which answers are counted, in bytes. The number of connections bounds smaller answers.
const UNIT: u64 = 64 * 1024;
/// The limit for all large pages together: 128 MiB.
const UNITS: usize = 2_048;

/// Says, in the extensions of an answer, which room its body takes if it is large. Other answers are about one key, and have at most
/// some 200 KiB.
#[derive(Debug, Clone)]
pub(crate) enum BodyMemory {
    /// None: all answers share the bytes, which are always in memory.
    Shared,
    /// The body is the metrics. They need no credential, so clients could keep others from reading them if their room was limited here. As
    /// other answers they count while they are unread, and clients at the same time share the bytes.
    Metrics,
    /// The body is a page of a list of this tenant.
    Page(Tenant),
}

/// Bounds the bytes of large answers that are being sent.
#[derive(Debug)]
pub(super) struct LargeAnswers {
    room: SharedRoom,
}

impl Default for LargeAnswers {
    fn default() -> Self {
        Self { room: SharedRoom::new(UNITS) }
    }
}

impl LargeAnswers {
    /// Returns the answer to a client with this address if there is room for it, otherwise 503.
    pub(super) fn admit(&self, response: Response, network: IpAddr) -> Response {
        let bytes = response.body().size_hint().lower();
        if bytes <= UNIT {
            return response;
        }
        let Some(BodyMemory::Page(tenant)) = response.extensions().get::<BodyMemory>() else {
            return response;
        };
        let mut share = self.room.share(Some(tenant), Some(network));
        if share.grow_to(usize::try_from(bytes.div_ceil(UNIT)).unwrap_or(usize::MAX)) {
            response.map(|inner| Body::new(LargeBody { inner, _share: share }))
        } else {
            Problem::from(Unavailable::LargeAnswers).into_response()
        }
    }
}

/// A large body. It frees its room when it was sent or dropped.
struct LargeBody {
    inner: Body,
    _share: Share,
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
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    /// The answer to a client with this address; its body has so many MiB.
    fn answer(large: &LargeAnswers, mib: usize, memory: BodyMemory, address: &str) -> Response {
        let mut response = Response::new(Body::from(vec![b' '; mib * MIB]));
        response.extensions_mut().insert(memory);
        large.admit(response, address.parse().unwrap())
    }

    fn page_of(tenant: &str) -> BodyMemory {
        BodyMemory::Page(Tenant::new(tenant).unwrap())
    }

    #[test]
    fn large_pages_wait_for_room_and_small_ones_do_not() {
        let large = LargeAnswers::default();
        let answer = |mib| answer(&large, mib, page_of("a"), "192.0.2.1");
        let mut sent: Vec<_> = (0..16).map(|_| answer(4)).collect();
        assert!(sent.iter().all(|response| response.status() == 200));
        assert_eq!(answer(4).status(), 503);
        assert_eq!(answer(0).status(), 200);
        sent.pop();
        assert_eq!(answer(4).status(), 200);
    }

    #[test]
    fn pages_that_a_tenant_does_not_read_leave_room_for_those_of_others() {
        let large = LargeAnswers::default();
        let sent: Vec<_> = (1..=3)
            .flat_map(|host| (0..100).map(move |_| host))
            .map(|host| answer(&large, 4, page_of("a"), &format!("192.0.2.{host}")))
            .collect();
        assert_eq!(sent.iter().filter(|response| response.status() == 200).count(), 16);
        assert_eq!(answer(&large, 4, page_of("b"), "192.0.2.1").status(), 200);
    }

    /// Otherwise clients without a credential could block lists and metrics by documents that they do not read.
    #[test]
    fn documents_and_metrics_that_nobody_reads_refuse_no_others() {
        let large = LargeAnswers::default();
        let answer = |memory| answer(&large, 4, memory, "192.0.2.1");
        let unread = [BodyMemory::Shared, BodyMemory::Metrics].map(|memory| {
            let unread: Vec<_> = (0..100).map(|_| answer(memory.clone())).collect();
            assert!(unread.iter().all(|response| response.status() == 200), "{memory:?}");
            unread
        });
        assert_eq!(answer(page_of("a")).status(), 200);
        drop(unread);
    }
}
