//! Reads a body. Its size is checked first, then its declared type.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use db_locks_service::Unavailable;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use crate::{
    http::OwnRoom,
    problem::{Problem, ProblemKind},
};

/// The largest body that is read.
const MOST_BYTES: usize = 256 * 1024;
/// How many bytes of a body that is too large are read and discarded. Otherwise a caller that sends everything before it reads
/// would see a reset connection instead of the answer.
const MOST_DISCARDED: usize = 64 * 1024 * 1024;
/// How long discarding may take in all, and without a byte: a caller that announced a body and waits for the answer must not
/// wait long.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
const DISCARD_PAUSE: Duration = Duration::from_millis(200);
/// The largest total size of requests whose bodies have arrived in part, in KiB: 64 MiB. A request that arrives as a whole takes none.
const MOST_PARTS: usize = 64 * 1024;
const UNIT: usize = 1024;
/// The size of a small request, in the same unit. One on each connection takes no room of others, so that no heartbeat is refused
/// because others send bodies without end. The number of connections is bounded.
const SMALL: usize = 8;
/// The room for these requests, shared by all connections: with HTTP/2 a client may send a thousand of them on each.
static PARTS: Semaphore = Semaphore::const_new(MOST_PARTS);
/// The memory that a header takes in addition to its name and value. With HTTP/2 a header of some hundred bytes may take one byte on the wire.
const HEADER_BYTES: usize = 128;
/// How long a body may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads a whole body. A body that is too large is answered 413; one that is neither empty nor declared as JSON, 415.
pub(super) async fn read(parts: &Parts, body: Body) -> Result<Bytes, Problem> {
    let bytes = read_whole(&parts.headers, body, parts.extensions.get(), &PARTS).await?;
    if !bytes.is_empty() {
        check_media_type(&parts.headers)?;
    }
    Ok(bytes)
}

async fn read_whole(
    headers: &HeaderMap,
    mut body: Body,
    own_room: Option<&OwnRoom>,
    parts: &Semaphore,
) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > MOST_BYTES as u64 {
        // A caller that asks before it sends has sent nothing that would have to be read.
        if !headers.contains_key(header::EXPECT) {
            discard(body).await;
        }
        return Err(too_large());
    }
    let deadline = Instant::now() + READ_TIMEOUT;
    let mut whole = Bytes::new();
    let mut pieces = BytesMut::new();
    let mut room = Vec::new();
    let mut own = None;
    loop {
        let data = if let Some(data) = next_data(&mut body, deadline).now_or_never() {
            data?
        } else {
            own = own.or_else(|| own_room.and_then(OwnRoom::try_take));
            let free = if own.is_some() { SMALL } else { 0 };
            let taken: usize = room.iter().map(SemaphorePermit::num_permits).sum();
            let size = head_size(headers) + whole.len() + pieces.len();
            let units = (size / UNIT).saturating_sub(free + taken);
            if units > 0 {
                let units = u32::try_from(units).unwrap_or(u32::MAX);
                room.push(parts.try_acquire_many(units).map_err(|_| Unavailable::Overloaded)?);
            }
            next_data(&mut body, deadline).await?
        };
        let Some(data) = data else { break };
        if whole.len() + pieces.len() + data.len() > MOST_BYTES {
            discard(body).await;
            return Err(too_large());
        }
        // Nearly every body arrives in one piece, which needs no copy.
        if whole.is_empty() && pieces.is_empty() {
            whole = data;
        } else {
            pieces.extend_from_slice(&std::mem::take(&mut whole));
            pieces.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(if pieces.is_empty() { whole } else { pieces.freeze() })
}

/// The memory that the head of a request takes, in bytes.
fn head_size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER_BYTES).sum()
}

/// Reads the next piece of a body; `None` at its end.
async fn next_data(body: &mut Body, deadline: Instant) -> Result<Option<Bytes>, Problem> {
    loop {
        // A piece that has arrived already needs no timer.
        let frame = match body.frame().now_or_never() {
            Some(frame) => frame,
            None => tokio::time::timeout_at(deadline, body.frame()).await.map_err(|_| {
                Problem::new(ProblemKind::RequestTimeout, "The body did not arrive within 30 seconds.")
            })?,
        };
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(Problem::invalid_field("body", "ended before its end")),
            // Trailers are ignored.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

async fn discard(mut body: Body) {
    let deadline = Instant::now() + DISCARD_TIMEOUT;
    let mut left = MOST_DISCARDED;
    while let Ok(Some(data)) = next_data(&mut body, deadline.min(Instant::now() + DISCARD_PAUSE)).await {
        match left.checked_sub(data.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

fn too_large() -> Problem {
    Problem::new(ProblemKind::PayloadTooLarge, "A body may have at most 256 KiB.")
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    // One pass, since each look-up would hash a name. The first value of a name counts.
    let (mut encoding, mut declared) = (None, None);
    for (name, value) in headers {
        if name == header::CONTENT_TYPE {
            declared.get_or_insert(value);
        } else if name == header::CONTENT_ENCODING {
            encoding.get_or_insert(value);
        }
    }
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            "The body must not be encoded: send it without Content-Encoding.",
        ));
    }
    if declared.is_some_and(|value| is_json(value.as_bytes())) {
        return Ok(());
    }
    Err(Problem::new(
        ProblemKind::UnsupportedMediaType,
        "The body must be JSON and be sent with Content-Type: application/json. With curl use `curl --json '{…}'`, or \
         before version 7.82 `curl -H 'content-type: application/json' -d '{…}'`.",
    ))
}

/// Whether a content type is JSON, whatever its parameters.
fn is_json(value: &[u8]) -> bool {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use axum::{
        http::{HeaderName, HeaderValue, Request},
        response::IntoResponse,
    };
    use futures_util::{StreamExt, stream};

    use super::*;

    fn declared(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))])
    }

    fn numbered(number: u32) -> HeaderName {
        HeaderName::from_bytes(format!("x-{number:03}").as_bytes()).unwrap()
    }

    fn unending() -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> {
        stream::pending()
    }

    fn parts(headers: &HeaderMap) -> Parts {
        let mut parts = Request::new(()).into_parts().0;
        parts.headers = headers.clone();
        parts
    }

    async fn status(headers: &HeaderMap, body: Body) -> u16 {
        use axum::response::IntoResponse;
        read(&parts(headers), body)
            .await
            .map_or_else(|problem| problem.into_response().status().as_u16(), |_| 200)
    }

    /// Guards memory against thousands of bodies that never end.
    #[tokio::test]
    async fn bodies_that_have_come_in_part_have_a_bound() {
        let (headers, parts) = (HeaderMap::new(), Semaphore::new(20));
        let chunk = |bytes: usize| Ok::<_, std::convert::Infallible>(Bytes::from(vec![b' '; bytes]));
        let unfinished = || {
            let body = stream::iter([chunk(4 * UNIT), chunk(8 * UNIT)]).chain(stream::pending());
            read_whole(&headers, Body::from_stream(body), None, &parts)
        };
        let mut first = Box::pin(unfinished());
        assert!((&mut first).now_or_never().is_none(), "it waits for more");
        assert_eq!(parts.available_permits(), 8);
        let refused = unfinished().now_or_never().and_then(Result::err).map(IntoResponse::into_response);
        assert_eq!(refused.map(|response| response.status().as_u16()), Some(503));
        let whole = stream::iter([chunk(100 * UNIT), chunk(100 * UNIT)]);
        let whole = read_whole(&headers, Body::from_stream(whole), None, &parts);
        assert!(whole.now_or_never().is_some_and(|read| read.is_ok()), "what has come takes no room");
        drop(first);
        assert_eq!(parts.available_permits(), 20);
        let headers: HeaderMap =
            (0..100).map(|number| (numbered(number), HeaderValue::from_static("x"))).collect();
        let mut none_yet = Box::pin(read_whole(&headers, Body::from_stream(unending()), None, &parts));
        assert!((&mut none_yet).now_or_never().is_none(), "it waits for the body");
        assert_eq!(parts.available_permits(), 7, "the head takes room, too");
    }

    /// Guards heartbeats whose body comes in a later packet than their head.
    #[tokio::test]
    async fn a_small_request_of_a_connection_is_read_however_many_bodies_of_others_never_end() {
        let (headers, parts, own) = (HeaderMap::new(), Semaphore::new(0), OwnRoom::default());
        let read = |bytes: usize| {
            let piece = Ok::<_, std::convert::Infallible>(Bytes::from(vec![b' '; bytes]));
            let body = Body::from_stream(stream::iter([piece]).chain(stream::pending()));
            Box::pin(read_whole(&headers, body, Some(&own), &parts))
        };
        let mut small = read(SMALL * UNIT);
        assert!((&mut small).now_or_never().is_none(), "it waits for more");
        assert!(
            read(UNIT).now_or_never().is_some_and(|read| read.is_err()),
            "the connection has one already"
        );
        drop(small);
        assert!(read(UNIT).now_or_never().is_none());
        assert!(read((SMALL + 1) * UNIT).now_or_never().is_some_and(|read| read.is_err()));
    }

    #[tokio::test]
    async fn an_empty_body_may_be_declared_as_anything() {
        assert_eq!(status(&HeaderMap::new(), Body::empty()).await, 200);
        assert_eq!(status(&declared("text/plain"), Body::empty()).await, 200);
        assert_eq!(status(&declared("application/x-www-form-urlencoded"), Body::from("")).await, 200);
    }

    #[tokio::test]
    async fn other_bodies_must_be_declared_as_json() {
        for json in ["application/json", "application/json; charset=utf-8", "Application/JSON ;x=y"] {
            assert_eq!(status(&declared(json), Body::from("{}")).await, 200, "{json}");
        }
        for other in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonx",
            "application/problem+json",
            "",
        ] {
            assert_eq!(status(&declared(other), Body::from("{}")).await, 415, "{other}");
        }
        assert_eq!(status(&HeaderMap::new(), Body::from("{}")).await, 415);
        let mut encoded = declared("application/json");
        encoded.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(status(&encoded, Body::from("{}")).await, 415);
    }

    #[tokio::test]
    async fn the_size_is_looked_at_before_the_type() {
        let text = declared("text/plain");
        assert_eq!(status(&text, Body::from(vec![b' '; MOST_BYTES + 1])).await, 413);
        assert_eq!(status(&text, Body::from(vec![b' '; MOST_BYTES])).await, 415);
        assert_eq!(status(&declared("application/json"), Body::from(vec![b' '; MOST_BYTES])).await, 200);
    }

    #[tokio::test]
    async fn pieces_are_put_together_and_counted() {
        let pieces = |count: usize| {
            let piece = Bytes::from_static(&[b'x'; 1_024]);
            Body::from_stream(stream::iter((0..count).map(move |_| Ok::<_, std::io::Error>(piece.clone()))))
        };
        let json = declared("application/json");
        assert_eq!(read(&parts(&json), pieces(3)).await.unwrap(), vec![b'x'; 3 * 1_024]);
        assert_eq!(status(&json, pieces(256)).await, 200);
        assert_eq!(status(&json, pieces(257)).await, 413);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_given_up() {
        let never = Body::from_stream(unending());
        assert_eq!(status(&declared("application/json"), never).await, 408);
    }
}
