//! The server against raw sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, routing::get};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
    time::Instant,
};
use tower::ServiceExt;

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);
const NOW: &str = "GET /now HTTP/1.1\r\nhost: x\r\n\r\n";
const WAITS: &str = "GET /waits HTTP/1.1\r\nhost: x\r\n\r\n";

/// A server with a route that answers at once, one that waits, and one with a large answer.
struct Server {
    address: SocketAddr,
    stop: Arc<Notify>,
    served: JoinHandle<()>,
    /// Notified when a request begins to wait.
    began: Arc<Notify>,
    /// Lets a waiting request go on.
    go_on: Arc<Notify>,
    /// Notified when a waiting request is dropped or done, or a large answer is dropped or taken.
    ended: Arc<Notify>,
}

struct NotifyOnDrop(Arc<Notify>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// What a large answer holds: what a server's refusals look like.
fn large_text() -> String {
    "HTTP/1.1 400".repeat(1 << 20)
}

/// A body of one large piece, which is noticed to end.
struct LargeBody(Option<bytes::Bytes>, #[expect(dead_code, reason = "its drop is what counts")] NotifyOnDrop);

impl axum::body::HttpBody for LargeBody {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}

impl Server {
    async fn start(grace: Duration) -> Self {
        Self::start_with(ServeOptions { max_connections: 100, grace, tls: None }).await
    }

    async fn start_with(options: ServeOptions) -> Self {
        let [began, go_on, ended] = std::array::from_fn(|_| Arc::new(Notify::new()));
        let waits = {
            let (began, go_on, ended) = (began.clone(), go_on.clone(), ended.clone());
            move || async move {
                let _ended = NotifyOnDrop(ended);
                began.notify_one();
                go_on.notified().await;
                "waited"
            }
        };
        let large = {
            let ended = ended.clone();
            move || async move { Body::new(LargeBody(Some(large_text().into()), NotifyOnDrop(ended))) }
        };
        let router = Router::new()
            .route("/now", get(|| async { "now" }))
            .route("/waits", get(waits))
            .route("/large", get(large));
        let router = router.map_request(|request: Request<ClientBody>| request.map(ClientBody::into_body));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(Notify::new());
        let stop_requested = {
            let stop = stop.clone();
            async move { stop.notified().await }
        };
        let served =
            tokio::spawn(serve(vec![listener], router, options, stop_requested, std::future::ready(())));
        Self { address, stop, served, began, go_on, ended }
    }

    async fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// A request that waits, and has begun to.
    async fn send_waiting(&self, more: &str) -> TcpStream {
        let stream = self.send(&format!("{WAITS}{more}")).await;
        in_time(self.began.notified()).await;
        stream
    }
}

/// What comes until the connection is closed.
async fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    in_time(stream.read_to_string(&mut text)).await.unwrap();
    text
}

/// One answer of a connection that goes on.
async fn answer(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        assert!(in_time(stream.read_buf(&mut text)).await.unwrap() > 0, "closed after {text:?}");
    }
    String::from_utf8(text).unwrap()
}

/// Nothing comes on a connection, and it is not closed either, for a while.
async fn is_kept(stream: &mut TcpStream) {
    let read = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut [0])).await;
    assert!(read.is_err(), "{read:?}");
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap()
}

/// Guards invariant 7: whatever a caller sent behind its request, its handler ends when it hangs up.
#[tokio::test]
async fn a_caller_that_hangs_up_drops_its_handler() {
    let server = Server::start(DEADLINE).await;
    let long = NOW.repeat(1_000);
    for more in ["", "\r\n", "x", NOW, &long] {
        let stream = server.send_waiting(more).await;
        drop(stream);
        in_time(server.ended.notified()).await;
        // Half of it closed is hung up, too: the two look the same.
        let mut stream = server.send_waiting(more).await;
        stream.shutdown().await.unwrap();
        in_time(server.ended.notified()).await;
        let stream = server.send_waiting(more).await;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        in_time(server.ended.notified()).await;
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_after_more_bytes_came_later_drops_its_handler() {
    let server = Server::start(DEADLINE).await;
    let mut stream = server.send_waiting("").await;
    for more in ["\r", "\n", NOW, NOW] {
        stream.write_all(more.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(stream);
    in_time(server.ended.notified()).await;
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_a_row() {
    let server = Server::start(DEADLINE).await;
    let mut stream = server.send_waiting(&format!("{NOW}{NOW}")).await;
    is_kept(&mut stream).await;
    server.go_on.notify_one();
    let text = answer(&mut stream, "now").await;
    assert!(text.contains("waited"), "{text}");
    let text = if text.matches("now").count() == 2 { text } else { text + &answer(&mut stream, "now").await };
    assert_eq!(text.matches("HTTP/1.1 200").count(), 3, "{text}");
}

#[tokio::test]
async fn an_answer_that_looks_like_a_refusal_arrives_whole_at_a_slow_reader() {
    let server = Server::start(DEADLINE).await;
    for pause in [Duration::ZERO, Duration::from_micros(100)] {
        let mut stream = server.send("GET /large HTTP/1.0\r\nhost: x\r\n\r\n").await;
        SockRef::from(&stream).set_recv_buffer_size(65_536).unwrap();
        let mut bytes = Vec::new();
        while in_time(stream.read_buf(&mut bytes)).await.unwrap() > 0 {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.split_once("\r\n\r\n").unwrap().1 == large_text(), "{} bytes", text.len());
    }
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let server = Server::start(DEADLINE).await;
    let long = format!("GET /now HTTP/1.1\r\nhost: x\r\nlong: {}\r\n\r\n", "x".repeat(MAX_HEAD as usize));
    for (bytes, status) in [
        ("NONSENSE\r\n\r\n", "400"),
        ("GET /now HTTP/1.1\nhost: x\n\n", "400"),
        ("GET /now HTTP/1.1\r\nhost: x\n\r\n", "400"),
        (&long, "431"),
    ] {
        let answer = rest(server.send(bytes).await).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes:.40}: {answer}");
    }
    // A later head, and one that comes in pieces.
    let mut stream = server.send(NOW).await;
    answer(&mut stream, "now").await;
    stream.write_all(b"GET /now HTTP/1.1\r\nho").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    stream.write_all(b"st: x\n\r\n").await.unwrap();
    assert!(rest(stream).await.starts_with("HTTP/1.1 400 "));
}

/// Time is paused: it advances when nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_off() {
    let server = Server::start(DEADLINE).await;
    let stream = server.send("GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let begin = Instant::now();
    tokio::time::timeout(Duration::from_mins(1), server.ended.notified()).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(20), "{:?}", begin.elapsed());
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_sends_no_head_is_closed() {
    let server = Server::start(DEADLINE).await;
    for begun in ["", "GET /no"] {
        let begin = Instant::now();
        let mut stream = server.send(begun).await;
        let closed = tokio::time::timeout(Duration::from_mins(1), stream.read(&mut [0])).await.unwrap();
        assert!(closed.is_err() || closed.is_ok_and(|bytes| bytes == 0));
        assert!(begin.elapsed() < Duration::from_secs(11), "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn more_connections_than_may_be_are_answered_503() {
    let server = Server::start_with(ServeOptions { max_connections: 1, grace: DEADLINE, tls: None }).await;
    let mut first = server.send(NOW).await;
    answer(&mut first, "now").await;
    let refused = rest(server.send(NOW).await).await;
    assert!(refused.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{refused}");
    assert!(refused.contains("retry-after: ") && refused.contains("/problems/unavailable"), "{refused}");
    first.write_all(NOW.as_bytes()).await.unwrap();
    answer(&mut first, "now").await;
    drop(first);
    let retry = async {
        while !rest(server.send(&NOW.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")).await)
            .await
            .starts_with("HTTP/1.1 200")
        {}
    };
    in_time(retry).await;
}

#[tokio::test]
async fn a_stop_announces_the_last_answer_of_each_connection() {
    let server = Server::start(DEADLINE).await;
    let mut idle = server.send(NOW).await;
    let kept = answer(&mut idle, "now").await;
    assert!(!kept.contains("connection: close"), "{kept}");
    let waiting = server.send_waiting("").await;
    server.stop.notify_one();
    is_kept(&mut idle).await;
    idle.write_all(NOW.as_bytes()).await.unwrap();
    let last = rest(idle).await;
    assert!(last.contains("connection: close\r\n") && last.ends_with("now"), "{last}");
    // A new connection is answered too, once.
    let late = rest(server.send(&NOW.repeat(2)).await).await;
    assert!(late.contains("connection: close\r\n") && late.matches("HTTP/1.1 200").count() == 1, "{late}");
    assert!(!server.served.is_finished());
    server.go_on.notify_one();
    let waited = rest(waiting).await;
    assert!(waited.contains("connection: close\r\n") && waited.ends_with("waited"), "{waited}");
    in_time(server.served).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_half_of_the_grace_time() {
    let grace = Duration::from_secs(1);
    let server = Server::start(grace).await;
    let mut idle = server.send(NOW).await;
    answer(&mut idle, "now").await;
    let silent = server.send("").await;
    let begin = Instant::now();
    server.stop.notify_one();
    assert_eq!((rest(idle).await, rest(silent).await), (String::new(), String::new()));
    assert!(begin.elapsed() >= grace / 2 && begin.elapsed() < grace, "{:?}", begin.elapsed());
    in_time(server.served).await.unwrap();
    assert!(begin.elapsed() < grace, "{:?}", begin.elapsed());
}

/// A client that connected just now has its request on the way; one that says nothing does not keep the service.
#[tokio::test]
async fn who_connects_while_idle_connections_are_closed_is_answered() {
    let grace = Duration::from_secs(4);
    let server = Server::start(grace).await;
    let idle = server.send("").await;
    let _waiting = server.send_waiting("").await;
    server.stop.notify_one();
    assert_eq!(rest(idle).await, "", "idle connections are being closed");
    let mut late = server.send("").await;
    is_kept(&mut late).await;
    late.write_all(NOW.as_bytes()).await.unwrap();
    assert!(rest(late).await.ends_with("now"));
    let silent = server.send("").await;
    let begin = Instant::now();
    assert_eq!(rest(silent).await, "");
    assert!(begin.elapsed() < grace / 4, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_head_that_began_before_the_stop_is_answered() {
    let server = Server::start(DEADLINE).await;
    let (half, other_half) = NOW.split_at(20);
    let mut stream = server.send(half).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    server.stop.notify_one();
    is_kept(&mut stream).await;
    stream.write_all(other_half.as_bytes()).await.unwrap();
    assert!(rest(stream).await.ends_with("now"));
    in_time(server.served).await.unwrap();
}

#[tokio::test]
async fn a_stop_takes_no_longer_than_the_grace_time() {
    let server = Server::start(Duration::from_millis(100)).await;
    let waiting = server.send_waiting("").await;
    let half = server.send("GET /no").await;
    server.stop.notify_one();
    in_time(server.served).await.unwrap();
    assert_eq!((rest(waiting).await, rest(half).await), (String::new(), String::new()));
}

#[tokio::test]
async fn a_stop_without_connections_is_immediate() {
    let server = Server::start(DEADLINE).await;
    let mut done = server.send(NOW).await;
    answer(&mut done, "now").await;
    drop(done);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begin = Instant::now();
    server.stop.notify_one();
    in_time(server.served).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}

/// A client of HTTP/2 that knows before that the server speaks it.
async fn http2(server: &Server) -> h2::client::SendRequest<bytes::Bytes> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (client, connection) = in_time(h2::client::handshake(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn send_http2(
    client: &h2::client::SendRequest<bytes::Bytes>,
    path: &str,
) -> (h2::client::ResponseFuture, h2::SendStream<bytes::Bytes>) {
    let mut client = in_time(client.clone().ready()).await.unwrap();
    let request = axum::http::Request::get(format!("http://x{path}")).body(()).unwrap();
    client.send_request(request, true).unwrap()
}

async fn text_http2(response: h2::client::ResponseFuture) -> String {
    let mut body = in_time(response).await.unwrap().into_body();
    let mut text = Vec::new();
    while let Some(piece) = in_time(body.data()).await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        text.extend_from_slice(&piece);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn http2_is_spoken_with_who_begins_with_it() {
    let server = Server::start(DEADLINE).await;
    let client = http2(&server).await;
    let (waiting, _) = send_http2(&client, "/waits").await;
    in_time(server.began.notified()).await;
    let (now, _) = send_http2(&client, "/now").await;
    assert_eq!(text_http2(now).await, "now", "beside a request that waits");
    let (large, _) = send_http2(&client, "/large").await;
    assert_eq!(text_http2(large).await, large_text());
    server.go_on.notify_one();
    assert_eq!(text_http2(waiting).await, "waited");
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    for piece in ["P", "OST /now HTTP/1.1\r\nhost: x\r\n\r\n"] {
        slow.write_all(piece.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(answer(&mut slow, "\r\n\r\n").await.starts_with("HTTP/1.1 405"));
}

/// Guards invariant 7: with HTTP/2 a stream that is reset is hung up, and so is each stream of a connection that ends.
#[tokio::test]
async fn a_reset_stream_drops_its_handler_and_no_other() {
    let server = Server::start(DEADLINE).await;
    let client = http2(&server).await;
    let (kept, _) = send_http2(&client, "/waits").await;
    in_time(server.began.notified()).await;
    let (_, mut reset) = send_http2(&client, "/waits").await;
    in_time(server.began.notified()).await;
    reset.send_reset(h2::Reason::CANCEL);
    in_time(server.ended.notified()).await;
    server.go_on.notify_one();
    assert_eq!(text_http2(kept).await, "waited");
    in_time(server.ended.notified()).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (client, connection) = in_time(h2::client::handshake(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let _waiting = send_http2(&client, "/waits").await;
    in_time(server.began.notified()).await;
    connection.abort();
    in_time(server.ended.notified()).await;
}

/// hyper's own 200 streams would let waiting acquires block the heartbeats of their client.
#[tokio::test]
async fn a_connection_has_a_thousand_streams() {
    let server = Server::start(DEADLINE).await;
    let client = http2(&server).await;
    let mut waiting = Vec::new();
    for _ in 0..999 {
        waiting.push(send_http2(&client, "/waits").await);
    }
    let (now, _) = send_http2(&client, "/now").await;
    assert_eq!(text_http2(now).await, "now");
}

#[tokio::test]
async fn http2_ends_with_the_service() {
    let server = Server::start(DEADLINE).await;
    let client = http2(&server).await;
    let (waiting, _) = send_http2(&client, "/waits").await;
    in_time(server.began.notified()).await;
    server.stop.notify_one();
    server.go_on.notify_one();
    assert_eq!(text_http2(waiting).await, "waited");
    in_time(server.served).await.unwrap();
}
