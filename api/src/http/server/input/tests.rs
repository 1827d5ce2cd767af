//! The check alone, and in front of hyper with the server's options.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use axum::body::Body;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::*;

/// The connection of a client that sends these pieces, and then nothing more.
struct Client {
    pieces: VecDeque<Vec<u8>>,
    input: InputCheck,
    answers: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.input.has_refused() {
            return Poll::Ready(this.input.read_refusal(buffer));
        }
        let before = buffer.filled().len();
        let Some(mut piece) = this.pieces.pop_front() else { return Poll::Pending };
        let later = piece.split_off(piece.len().min(buffer.remaining()));
        buffer.put_slice(&piece);
        if !later.is_empty() {
            this.pieces.push_front(later);
        }
        Poll::Ready(this.input.check(buffer, before))
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.answers.lock().unwrap().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What the server makes of pieces of bytes: the targets of the requests whose bodies have arrived whole, and all answers.
fn served(pieces: &[&[u8]]) -> (Vec<String>, String) {
    let (targets, answers) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
    let polls = 2 * pieces.len() + 10;
    let pieces = pieces.iter().map(|piece| piece.to_vec()).collect();
    let client = Client { pieces, input: InputCheck::default(), answers: answers.clone() };
    let service = service_fn(|request: Request<Incoming>| {
        let targets = targets.clone();
        async move {
            let target = request.uri().to_string();
            let whole = request.into_body().collect().await;
            let status = if whole.is_ok() { 200 } else { 400 };
            if whole.is_ok() {
                targets.lock().unwrap().push(target);
            }
            let answer = Response::builder().status(status).body(Body::empty());
            Ok::<_, Infallible>(answer.unwrap())
        }
    });
    let connection = super::super::http1().serve_connection(TokioIo::new(client), service);
    let mut connection = std::pin::pin!(connection);
    // hyper reads in each poll until the client has nothing more, unless it yields after many pieces.
    for _ in 0..polls {
        if connection.as_mut().now_or_never().is_some() {
            break;
        }
    }
    let targets = std::mem::take(&mut *targets.lock().unwrap());
    let answers = String::from_utf8_lossy(&answers.lock().unwrap()).into_owned();
    (targets, answers)
}

/// Requests that are served.
const GOOD: [&str; 8] = [
    "GET /good HTTP/1.1\r\nhost: x\r\n\r\n",
    "\r\n\r\nGET /good HTTP/1.1\r\nhost: x\r\n\r\n",
    "GET /good HTTP/1.1\r\n\r\n",
    "POST /good HTTP/1.1\r\nContent-Length:  12 \r\n\r\n{\n\"a\":\n\n\0\r1}",
    "POST /good HTTP/1.1\r\ncontent-length: 0\r\nx: y\r\n\r\n",
    "POST /good HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n3\r\n\n\n\n\r\n00A;a=\"b c\" ; d\r\n0123456789\r\n0\r\n\r\n",
    "POST /good HTTP/1.1\r\ntransfer-encoding:chunked\r\n\r\n0\r\nx: content-length\r\ncontent-length: 9\r\n\r\n",
    "POST /good HTTP/1.1\r\nlong: 0123456789012345678901234567890123456789012345678901234567890123456789\r\ncontent-length: 3\r\n\r\n{\n}",
];

/// The rest of requests behind `POST /bad HTTP/1.1\r\n` that are refused: nothing behind them is served.
const BAD: [&str; 41] = [
    "x: a\n\r\n",
    "x: a\r\n\n",
    "x: a\n\n",
    "\n",
    "x: a\ncontent-length: 0\r\n\r\n",
    "x: a\rb\r\n\r\n",
    "x: a\r\r\n\r\n",
    "x: a\0b\r\n\r\n",
    "x\0: a\r\n\r\n",
    "x: a\r\n b\r\n\r\n",
    "content-length: 2\n\r\n{}",
    "content-length: 2\r\n\n{}",
    "content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "content-length: 0\r\ncontent-length: 99\r\n\r\n",
    "content-length: 2, 2\r\n\r\n{}",
    "content-length: +2\r\n\r\n{}",
    "content-length: 2\u{c}\r\n\r\n{}",
    "content-length:\r\n\r\n",
    "content-length : 2\r\n\r\n{}",
    "content-length: 18446744073709551618\r\n\r\n{}",
    "content-length: 000000000000000000000000000000000000000000000000000000000000002\r\n\r\n{}",
    "content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "transfer-encoding: identity\r\n\r\n",
    "transfer-encoding: chunked\n\r\n0\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n0\n\r\n",
    "transfer-encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n2\r\n{}\n0\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n2 \r\n{}\r\n0\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n2;a=\0\r\n{}\r\n0\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n2;a=\rb\r\n{}\r\n0\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n00000000000000000000000000000000000000000000000000000000000000002\r\n{}\r\n0\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n0\r\nx: a\n\r\n",
    "transfer-encoding: chunked\r\n\r\n0\r\nx: a\r\n\n",
    "transfer-encoding: chunked\r\n\r\n0\r\n\n",
    "transfer-encoding: chunked\r\n\r\n0\r\nx: a\rb\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n0\r\nx: a\0b\r\n\r\n",
];

fn shown(pieces: &[&[u8]]) -> String {
    let texts: Vec<_> = pieces.iter().map(|piece| String::from_utf8_lossy(piece)).collect();
    format!("{texts:?}")
}

/// A connection's bytes in two pieces, cut at each place, and byte by byte.
fn cuts(bytes: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let in_two = (0..bytes.len()).map(|at| {
        let (first, second) = bytes.split_at(at);
        [first, second].into_iter().filter(|piece| !piece.is_empty()).collect()
    });
    in_two.chain([bytes.chunks(1).collect()])
}

#[test]
fn good_requests_are_served_however_they_are_cut() {
    for first in GOOD {
        for second in GOOD {
            let bytes = format!("{first}{second}");
            for pieces in cuts(bytes.as_bytes()) {
                let (targets, answers) = served(&pieces);
                assert_eq!(targets.len(), 2, "{}: {answers}", shown(&pieces));
            }
        }
    }
}

/// Guards that nothing is served behind a request whose end is uncertain, whatever comes before it.
#[test]
fn nothing_is_served_behind_a_bad_request_however_it_is_cut() {
    for bad in BAD {
        for front in std::iter::once("").chain(GOOD) {
            let bytes = format!("{front}POST /bad HTTP/1.1\r\n{bad}GET /smuggled HTTP/1.1\r\n\r\n");
            for pieces in cuts(bytes.as_bytes()) {
                let (targets, answers) = served(&pieces);
                let before = usize::from(!front.is_empty());
                assert_eq!(targets, vec!["/good"; before], "{}", shown(&pieces));
                assert_eq!(answers.matches("HTTP/1.1 200 ").count(), before, "{}: {answers}", shown(&pieces));
                assert_eq!(answers.matches("HTTP/1.1 400 ").count(), 1, "{}: {answers}", shown(&pieces));
            }
        }
    }
}
