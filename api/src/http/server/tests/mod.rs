//! The server against raw sockets: here the server that all of them ask, and how they ask it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod by_hand;
mod connection_memory;
pub(super) mod grants;
mod http2;
mod requests;
#[cfg(target_os = "linux")]
mod slots;
mod stop;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, routing::get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
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
        Self::start_with(ServeOptions { max_connections: 100, requires_credentials: false, grace, tls: None })
            .await
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
        let router = router.map_request(|request: Request<ClientBody>| ClientBody::for_handler(request));
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

/// Reads all bytes until the connection is closed.
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
