//! Bodies that arrive whole, in parts, too large, or not at all.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use axum::{
    http::{HeaderName, HeaderValue, Request, Uri},
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

fn tenant() -> Tenant {
    Tenant::new("acme").unwrap()
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
    read(&mut parts(headers), body, &tenant(), None)
        .await
        .map_or_else(|problem| problem.into_response().status().as_u16(), |_| 200)
}

/// Guards memory against thousands of bodies that never end.
#[tokio::test]
async fn bodies_that_have_come_in_part_have_a_bound() {
    let (room, tenant) = (SharedRoom::new(30), tenant());
    let chunk = |bytes: usize| Ok::<_, std::convert::Infallible>(Bytes::from(vec![b' '; bytes]));
    let unfinished = || {
        let body = stream::iter([chunk(4 * UNIT), chunk(8 * UNIT)]).chain(stream::pending());
        let (room, tenant) = (&room, &tenant);
        async move { read_whole(&mut parts(&HeaderMap::new()), Body::from_stream(body), tenant, room).await }
    };
    let mut first = Box::pin(unfinished());
    assert!((&mut first).now_or_never().is_none(), "it waits for more");
    assert_eq!(room.free(), 17, "its path takes room, too");
    let refused = unfinished().now_or_never().and_then(Result::err).map(IntoResponse::into_response);
    assert_eq!(refused.map(|response| response.status().as_u16()), Some(503));
    let whole = stream::iter([chunk(100 * UNIT), chunk(100 * UNIT)]);
    let mut head = parts(&HeaderMap::new());
    let whole = read_whole(&mut head, Body::from_stream(whole), &tenant, &room);
    assert!(whole.now_or_never().is_some_and(|read| read.is_ok()), "what has come takes no room");
    drop(first);
    assert_eq!(room.free(), 30);
    let headers: HeaderMap =
        (0..100).map(|number| (numbered(number), HeaderValue::from_static("x"))).collect();
    let mut head = parts(&headers);
    let mut none_yet = Box::pin(read_whole(&mut head, Body::from_stream(unending()), &tenant, &room));
    assert!((&mut none_yet).now_or_never().is_none(), "it waits for the body");
    assert_eq!(room.free(), 16, "the head takes room, too");
}

/// h2 reads requests into buffers of many kilobytes, and a path is a part of such a buffer.
#[tokio::test]
async fn a_body_that_has_come_in_part_keeps_no_more_of_its_head_than_is_counted() {
    let buffer = Bytes::from_static(b"/locks/a/acquire?b and more").to_vec();
    let buffer = Bytes::from(buffer);
    let mut head = parts(&HeaderMap::new());
    head.uri = Uri::from_maybe_shared(buffer.slice(..18)).unwrap();
    assert!(!buffer.is_unique());
    let (room, tenant) = (SharedRoom::new(2), tenant());
    {
        let mut unfinished = Box::pin(read_whole(&mut head, Body::from_stream(unending()), &tenant, &room));
        assert!((&mut unfinished).now_or_never().is_none(), "it waits for the body");
        assert_eq!(room.free(), 1, "a small head takes room, too");
    }
    assert!(buffer.is_unique());
    assert_eq!(head.uri, "/locks/a/acquire?b");
}

/// Guards heartbeats whose body comes in a later packet than their head.
#[tokio::test]
async fn a_small_request_of_a_connection_is_read_however_many_bodies_of_others_never_end() {
    let (room, tenant) = (SharedRoom::new(0), tenant());
    let own = OwnRoom::of(std::net::Ipv4Addr::LOCALHOST.into());
    let read = |bytes: usize| {
        let piece = Ok::<_, std::convert::Infallible>(Bytes::from(vec![b' '; bytes]));
        let body = Body::from_stream(stream::iter([piece]).chain(stream::pending()));
        let mut head = parts(&HeaderMap::new());
        head.extensions.insert(own.clone());
        let (room, tenant) = (&room, &tenant);
        Box::pin(async move { read_whole(&mut head, body, tenant, room).await })
    };
    let path = "/".len();
    let mut small = read(SMALL * UNIT - path);
    assert!((&mut small).now_or_never().is_none(), "it waits for more");
    assert!(read(UNIT).now_or_never().is_some_and(|read| read.is_err()), "the connection has one already");
    drop(small);
    assert!(read(UNIT).now_or_never().is_none());
    assert!(read(SMALL * UNIT).now_or_never().is_some_and(|read| read.is_err()));
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
    assert_eq!(read(&mut parts(&json), pieces(3), &tenant(), None).await.unwrap(), vec![b'x'; 3 * 1_024]);
    assert_eq!(status(&json, pieces(256)).await, 200);
    assert_eq!(status(&json, pieces(257)).await, 413);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_is_given_up() {
    let never = Body::from_stream(unending());
    assert_eq!(status(&declared("application/json"), never).await, 408);
}
