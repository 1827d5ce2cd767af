//! The memory of a request over HTTP/2.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::http::{HeaderValue, Request, header};

use crate::http::head_memory;

/// The memory of a request over HTTP/2 in addition to its head and body: its stream, and what the service does for it.
pub(super) const REQUEST_BYTES: usize = 5 * 1024;

/// The bytes of a request's body that were read. Its data stays in memory until the request is answered.
pub(in crate::http::server) type BodyBytes = Arc<AtomicUsize>;

/// The memory of a request over HTTP/2, in bytes.
#[derive(Debug)]
pub(in crate::http::server) struct RequestMemory {
    /// The length of the longest head of its connection. Until the request begins, its path keeps the bytes of its whole head in memory.
    head_on_the_wire: usize,
    /// The bytes from when it has begun until its credential is known, without its body. Its headers are needed then.
    looked_up: usize,
    /// The bytes from then on, without its body. Only its path and its credential are left, in memory of their own.
    waiting: usize,
    /// `None` without a body.
    body: Option<BodyBytes>,
}

impl RequestMemory {
    /// The memory of this request. `head_on_the_wire` is the length of the longest head of its connection.
    pub(in crate::http::server) fn of<B>(
        request: &Request<B>,
        head_on_the_wire: usize,
        body: Option<BodyBytes>,
    ) -> Self {
        let credential = request.headers().get(header::AUTHORIZATION).map_or(0, HeaderValue::len);
        Self {
            head_on_the_wire,
            looked_up: REQUEST_BYTES + head_memory(request.uri(), request.headers()),
            waiting: REQUEST_BYTES + request.uri().path().len() + credential,
            body,
        }
    }

    /// The bytes until it begins.
    pub(super) const fn arrived(&self) -> usize {
        self.head_on_the_wire + self.looked_up
    }

    /// The bytes once it has begun.
    pub(super) fn begun(&self, is_looked_up: bool) -> usize {
        // What is left of it grows only with its body.
        let body = self.body.as_ref().map_or(0, |body| body.load(Ordering::Relaxed));
        body + if is_looked_up { self.looked_up } else { self.waiting }
    }

    /// The bytes while it waits for an answer.
    #[cfg(test)]
    pub(in crate::http::server) const fn waiting(&self) -> usize {
        self.waiting
    }
}
