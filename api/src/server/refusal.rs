//! What HTTP itself refuses, as problem documents.
//!
//! A request that is not well-formed HTTP reaches no route: hyper answers it by itself, with a bare status, and closes the
//! connection. There is no hook for that answer, so it is recognised where it is written, and a problem is sent instead.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::HttpBody,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use http_body_util::{BodyExt, Collected};
use hyper::rt::{Read, ReadBufCursor, Write};

use crate::{
    problem::Problem,
    request_id::{self, REQUEST_ID},
};

/// A connection whose bare refusals become problem documents.
#[derive(Debug)]
pub(super) struct Refusing<IO> {
    io: IO,
    /// What is sent instead of a refusal that hyper is writing, as far as it is not yet sent.
    instead: Bytes,
}

impl<IO> Refusing<IO> {
    /// Looks after a connection.
    pub(super) fn new(io: IO) -> Self {
        Self { io, instead: Bytes::new() }
    }
}

impl<IO: Write + Unpin> Refusing<IO> {
    /// Sends what stands instead of a refusal, all of it before the refusal counts as written.
    fn poll_instead(&mut self, cx: &mut Context<'_>, refusal: &[u8]) -> Poll<io::Result<usize>> {
        while !self.instead.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.instead))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(written);
        }
        Poll::Ready(Ok(refusal.len()))
    }
}

impl<IO: Write + Unpin> Write for Refusing<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.instead.is_empty() {
            match problem_instead_of(bytes) {
                Some(problem) => self.instead = problem,
                None => return Pin::new(&mut self.io).poll_write(cx, bytes),
            }
        }
        self.poll_instead(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
        if self.instead.is_empty() {
            match problem_instead_of(first) {
                Some(problem) => self.instead = problem,
                None => return Pin::new(&mut self.io).poll_write_vectored(cx, slices),
            }
        }
        self.poll_instead(cx, first)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<IO: Read + Unpin> Read for Refusing<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

/// The problem to send instead of these bytes, if they are a refusal of hyper's: a head without our request id.
fn problem_instead_of(bytes: &[u8]) -> Option<Bytes> {
    let reason = match bytes.get(..12)? {
        b"HTTP/1.1 400" => "is not well-formed HTTP",
        b"HTTP/1.1 414" => "has a target that is too long",
        b"HTTP/1.1 431" => "has headers that are too many or too large",
        _ => return None,
    };
    let ours =
        bytes.windows(REQUEST_ID.as_str().len()).any(|window| window == REQUEST_ID.as_str().as_bytes());
    if ours {
        return None;
    }
    let mut response = Problem::invalid_field("request", reason).into_response();
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, request_id::new_id());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Some(serialize(response))
}

/// A response as the bytes of HTTP/1.1.
fn serialize(response: Response) -> Bytes {
    let (parts, body) = response.into_parts();
    let length = body.size_hint().exact().unwrap_or_default();
    // The body is in memory: it does not have to be waited for.
    let body =
        body.collect().now_or_never().and_then(Result::ok).map(Collected::to_bytes).unwrap_or_default();
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let mut text =
        format!("HTTP/1.1 {} {reason}\r\ncontent-length: {length}\r\n", parts.status.as_u16()).into_bytes();
    for (name, value) in &parts.headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(&body);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_refusals_become_problems() {
        for status in ["400 Bad Request", "414 URI Too Long", "431 Request Header Fields Too Large"] {
            let bare = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            let instead = problem_instead_of(bare.as_bytes()).unwrap_or_default();
            let text = String::from_utf8_lossy(&instead);
            let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
            assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
            assert!(head.contains("\r\nx-request-id: "), "{text}");
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{text}");
            assert!(body.contains("/problems/invalid-request"), "{text}");
        }
    }

    #[test]
    fn our_own_answers_are_left_alone() {
        for answer in
            ["HTTP/1.1 400 Bad Request\r\nx-request-id: a\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP", "{}"]
        {
            assert!(problem_instead_of(answer.as_bytes()).is_none(), "{answer}");
        }
    }
}
