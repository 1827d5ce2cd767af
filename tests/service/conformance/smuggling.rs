//! The ends of requests and answers on a connection, on which the service and a proxy must agree.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::hostile::exchange;
use crate::support::{Client, Dialect, service::shared, wire};

/// A request that would create a lock if the service read it as a request of its own.
const SMUGGLED: &str = "PUT /locks/SMUGGLED HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";

/// Heads and bodies whose end two readers may see at different places. One of them would read SMUGGLED as a request.
const SHAPES: [&str; 48] = [
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nSMUGGLED",
    "Content-Length: 0\r\nContent-Length: 100\r\n\r\nSMUGGLED",
    "Content-Length: 100\r\nContent-Length: 0\r\n\r\nSMUGGLED",
    "Content-Length: 0, 100\r\n\r\nSMUGGLED",
    "Content-Length: +0\r\n\r\nSMUGGLED",
    "Content-Length: -1\r\n\r\nSMUGGLED",
    "Content-Length: 0x0\r\n\r\nSMUGGLED",
    "Content-Length: 18446744073709551616\r\n\r\nSMUGGLED",
    "Content-Length: 18446744073709551617\r\n\r\nSMUGGLED",
    "Content-Length: 99999999999999999999999\r\n\r\nSMUGGLED",
    "Content-Length:\r\n\r\nSMUGGLED",
    "Content-Length : 0\r\n\r\nSMUGGLED",
    "Content-Length\t: 0\r\n\r\nSMUGGLED",
    " Content-Length: 0\r\n\r\nSMUGGLED",
    "X: a\r\n Content-Length: 0\r\n\r\nSMUGGLED",
    "X: a\r\n\tfolded\r\n\r\nSMUGGLED",
    "X: a\nContent-Length: 0\r\n\r\nSMUGGLED",
    "X: a\rContent-Length: 0\r\n\r\nSMUGGLED",
    "X: a\0b\r\n\r\nSMUGGLED",
    "X y: a\r\n\r\nSMUGGLED",
    ": a\r\n\r\nSMUGGLED",
    "no colon\r\n\r\nSMUGGLED",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\n\r\n0;a=\n\r\n\r\nSMUGGLED",
    "X: a\n\r\nSMUGGLED",
    "X: a\r\n\nSMUGGLED",
    "X: a\n\nSMUGGLED",
    "Content-Length: 2\n\r\n{}SMUGGLED",
    "Content-Length: 2, 2\r\n\r\n{}SMUGGLED",
    "Transfer-Encoding: chunked\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\n\r\n0\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\n\r\n2;a=\0\r\n{}\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\n\r\n2;a=\rb\r\n{}\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\r\n\nSMUGGLED",
    "Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\rb\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\0b\r\n\r\nSMUGGLED",
];

/// What a connection sends before such a request: nothing, and requests that are answered.
const FRONTS: [(&str, usize); 4] = [
    ("", 0),
    ("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 1),
    (
        "POST /locks/none/release HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: 3\r\n\r\n{\n}",
        1,
    ),
    (
        "POST /locks/none/release HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n3;a=b\r\n{\n}\r\n0\r\nX: a\r\n\r\n\
         GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        2,
    ),
];

/// The times after which nothing more is expected. A longer one is for the requests whose answer or end came too late for
/// the one before.
const READ_TIMEOUTS: [Duration; 3] =
    [Duration::from_millis(700), Duration::from_secs(2), Duration::from_secs(5)];

/// Sends bytes; all bytes that are answered, and whether the connection was closed after them.
fn send_and_read(port: u16, request: &[u8], read_timeout: Duration) -> (String, bool) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request).unwrap();
    stream.set_read_timeout(Some(read_timeout)).unwrap();
    let mut bytes = Vec::new();
    let is_closed = stream.read_to_end(&mut bytes).is_ok();
    (String::from_utf8_lossy(&bytes).into_owned(), is_closed)
}

/// Guards that a proxy in front and the service never see different requests: such a head is refused, or its connection
/// is closed after the answer, whatever comes before it.
#[tokio::test]
async fn no_request_is_smuggled_behind_another() {
    let svc = shared(Dialect::Sqlite).await.unwrap().with_tenant("default");
    let mut pairs: Vec<_> =
        SHAPES.into_iter().flat_map(|shape| FRONTS.map(|front| (shape, front, String::new()))).collect();
    for read_timeout in READ_TIMEOUTS {
        pairs = smuggle(&svc, pairs, read_timeout).await;
    }
    assert!(pairs.is_empty(), "{pairs:#?}");
}

/// A shape, what the connection sends before it, and the answer if it was not as it should be.
type Pair = (&'static str, (&'static str, usize), String);

/// Tries all pairs at once. Fails if one of them smuggles a request. Returns the pairs that were not answered or closed
/// in time.
async fn smuggle(svc: &Client, pairs: Vec<Pair>, read_timeout: Duration) -> Vec<Pair> {
    let port = svc.port();
    let mut tried = Vec::new();
    for (number, (shape, front, _)) in pairs.into_iter().enumerate() {
        let key = format!("smuggled-{}-{number}", read_timeout.as_millis());
        let rest = shape.replace("SMUGGLED", &SMUGGLED.replace("SMUGGLED", &key));
        let request = format!(
            "{}POST /locks/{key}-front/acquire HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{rest}",
            front.0
        );
        let sent = tokio::task::spawn_blocking(move || send_and_read(port, request.as_bytes(), read_timeout));
        tried.push((key, shape, front, sent));
    }
    let mut late = Vec::new();
    for (key, shape, front, sent) in tried {
        let (text, is_closed) = sent.await.unwrap();
        let (answers, before) = (text.matches("HTTP/1.1 ").count(), front.1);
        assert!(answers <= before + 1, "{shape:?} behind {front:?} is taken for two requests: {text}");
        svc.lock(&key).await.problem(404, "not-found");
        // An unfinished request has no answer yet.
        if answers < before || !(is_closed || answers == before) {
            late.push((shape, front, text));
        }
    }
    late
}

/// Guards against a reset of a connection whose client still sends: the reset would destroy the unread part of the
/// answer.
#[tokio::test]
async fn a_large_answer_arrives_whole_although_nobody_reads_the_body_of_its_request() {
    let svc = shared(Dialect::Sqlite).await.unwrap();
    let body = vec![b'x'; 200_000];
    // When the service did not keep reading, two in five answers broke off.
    for _ in 0..20 {
        let request = wire::request("GET", "/api-docs/openapi.json", &[], &body);
        let answer = wire::exchange(svc.port(), &request).await.unwrap();
        assert_eq!((answer.status, answer.header("content-length")), (200, &*answer.text.len().to_string()));
    }
}

/// A pipeline is answered in order, even if some requests are invalid, until the end of a request is not certain.
#[tokio::test]
async fn requests_in_a_row_are_answered_in_their_order() {
    let svc = shared(Dialect::Sqlite).await.unwrap();
    let head = |target: &str, more: &str| format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    let last = head("/health", "Connection: close\r\n");
    let pipeline =
        [head("/health", ""), head("/locks/%zz", ""), head("/none", ""), head("/locks?limit=x", ""), last]
            .concat();
    let port = svc.port();
    let bytes = tokio::task::spawn_blocking(move || exchange(port, pipeline.as_bytes())).await.unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let statuses: Vec<_> = text.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "400", "404", "400", "200"], "{text}");
}
