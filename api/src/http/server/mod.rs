//! The server: accepts, serves and closes connections.

mod accept;
mod body;
mod client;
mod client_verifier;
mod connection_memory;
mod control_frames;
mod ending;
mod frame_work;
mod hang_up;
mod input;
mod linger;
mod listeners;
mod protocol;
mod refuse;
mod remembered_heads;
mod request_body;
mod request_heads;
mod requests;
mod stream;
mod streams;
mod timers;
mod tls;
mod tls_socket;
mod transport;
mod turns;

#[cfg(test)]
mod tests;

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::response::Response;
use hyper::{
    Request,
    server::conn::{http1, http2},
};
use tokio::{net::TcpListener, runtime::Handle, sync::watch, time::Instant};
use tower::Service;

pub use self::tls::{Tls, TlsError};
use self::{
    accept::Acceptor, connection_memory::ConnectionMemory, refuse::Refuser, streams::Spawner, turns::Turns,
};
use crate::http::{
    connection::{ClientBody, Phase, Slots},
    metrics::ConnectionMetrics,
};

/// The service that a connection calls for each request.
pub(crate) trait HttpService:
    Service<Request<ClientBody>, Response = Response, Error = Infallible, Future: Send + Unpin + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> HttpService for S where
    S: Service<Request<ClientBody>, Response = Response, Error = Infallible, Future: Send + Unpin + 'static>
        + Clone
        + Send
        + 'static
{
}

/// The largest head of a request. The longest useful one has 9 KiB: three texts of 255 characters, each of them four escaped
/// bytes.
const MAX_HEAD: u32 = 32 * 1024;
/// The largest number of concurrent requests of one HTTP/2 connection, waiting acquires included. With fewer, waiting acquires could
/// block the heartbeats of their own client.
const MAX_STREAMS: u32 = 1_000;
/// The most bytes of a stream's answer that hyper buffers ahead of the client.
const MAX_SEND_BUFFER: usize = 64 * 1024;

/// The protocols of connections.
#[derive(Clone)]
pub(super) struct Protocols {
    http1: http1::Builder,
    tls: Option<Arc<Tls>>,
    memory: Arc<ConnectionMemory>,
    turns: Turns,
}

/// The options of the server.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The most connections at a time.
    pub max_connections: usize,
    /// Whether requests need a credential. Then clients that have shown none leave connections to others, as do tenants.
    pub requires_credentials: bool,
    /// The time limit for a shutdown. During the first half, kept connections get one more answer. Then idle connections are
    /// closed.
    pub grace: Duration,
    /// TLS; without it connections are not encrypted.
    pub tls: Option<Arc<Tls>>,
}

/// Serves HTTP/1.1 until `stop` completes, then runs `drain`. From then on every answer is the last one of its connection
/// and says so. Returns when `drain` is done and all connections have ended, or after the grace time.
///
/// Connections are accepted to the end, so that clients get the answer "shutting down" instead of a refused connection.
///
/// If a client disconnects while its request is being answered, the handler is dropped.
///
/// # Panics
/// If no thread can be started.
pub async fn serve<S>(
    listeners: Vec<TcpListener>,
    service: S,
    options: ServeOptions,
    stop: impl Future<Output = ()>,
    drain: impl Future<Output = ()>,
) where
    S: Service<Request<ClientBody>, Response = Response, Error = Infallible, Future: Send + Unpin + 'static>
        + Clone
        + Send
        + 'static,
{
    let (phase, _) = watch::channel(Phase::Serving);
    let acceptor = Acceptor {
        protocols: Protocols {
            http1: http1(),
            tls: options.tls,
            memory: Arc::default(),
            turns: Turns::new(Handle::current().metrics().num_workers()),
        },
        service,
        phase,
        slots: Slots::new(options.max_connections, options.requires_credentials),
        refuser: Refuser::default(),
        metrics: ConnectionMetrics::new(options.max_connections),
    };
    let finish = async {
        stop.await;
        let end = Instant::now() + options.grace;
        acceptor.phase.send_replace(Phase::Draining);
        let ended = async {
            let half = Instant::now() + options.grace / 2;
            let close_idle = async {
                tokio::time::sleep_until(half).await;
                acceptor.phase.send_replace(Phase::Closing);
                std::future::pending::<()>().await;
            };
            let none_left = async {
                drain.await;
                acceptor.phase.closed().await;
            };
            tokio::select! {
                () = none_left => {}
                () = close_idle => {}
            }
        };
        if tokio::time::timeout_at(end, ended).await.is_err() {
            tracing::warn!("some requests did not finish in time; their connections are closed");
        }
    };
    let accepting = acceptor.accept_on(listeners).expect("the system gives a thread and descriptors");
    finish.await;
    drop(accepting);
    // End the remaining connections: nothing waits for them.
    acceptor.phase.send_replace(Phase::Ended);
}

fn http1() -> http1::Builder {
    let mut http = http1::Builder::new();
    // `half_close(false)` makes the handler drop when its caller hangs up. It is the default, stated because this depends on it.
    http.half_close(false).keep_alive(true);
    // Answers are short: copying the body behind the head costs less than a vectored write.
    http.writev(false);
    http.max_header_size(MAX_HEAD as usize).max_buf_size(body::PIECE);
    // `ClientStream` has its own timers, which distinguish a first head from a later one.
    http.header_read_timeout(None);
    http
}

fn http2(spawner: Spawner) -> http2::Builder<Spawner> {
    let mut http = http2::Builder::new(spawner);
    http.max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD)
        .max_send_buf_size(MAX_SEND_BUFFER);
    http
}
