//! Connections: accepting them, serving them, and letting them go.

use std::{io, net::SocketAddr, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

/// How long a connection may take to send the head of a request, or say nothing between two. Longer than the pauses
/// between a client's heartbeats, shorter than what would let silent connections pile up.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a silent peer is left alone before it is asked whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);
/// How long it is given to answer before it is asked again.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// How often it is asked before it counts as gone: who waits for a lock must not do so long for a host that vanished.
const KEEPALIVE_PROBES: u32 = 3;
/// How long sent bytes may stay unacknowledged: the same as the probes take.
const USER_TIMEOUT: Duration = Duration::from_secs(11);
/// The pause after a connection could not be accepted for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves HTTP/1.1 until `stop` completes. Then it accepts nothing more, closes idle connections, lets running requests
/// finish, and returns when all have, or after `grace`.
///
/// A caller that goes away while its request is being answered drops the handler.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
) -> io::Result<()> {
    let connections = GracefulShutdown::new();
    let http = http();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => serve_connection(&http, stream, peer, router.clone(), &connections),
            Err(error) => pause_after(&error).await,
        }
    }
    drop(listener);
    if tokio::time::timeout(grace, connections.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time; their connections are closed");
    }
    Ok(())
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    // `half_close(false)`, the default, is what makes a hung-up caller drop its handler; it is said all the same.
    http.half_close(false).keep_alive(true).pipeline_flush(true);
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    http
}

fn serve_connection(
    http: &http1::Builder,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    connections: &GracefulShutdown,
) {
    if let Err(error) = tune(&stream) {
        // The peer is gone already, or will be noticed later.
        tracing::debug!(error = &error as &dyn std::error::Error, %peer, "a socket could not be tuned");
    }
    let service = service_fn(move |request: Request<Incoming>| {
        // A router is always ready, and cheap to copy.
        router.clone().call(request.map(Body::new))
    });
    let connection = connections.watch(http.serve_connection(TokioIo::new(stream), service));
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = &error as &dyn std::error::Error, %peer, "a connection broke");
        }
    });
}

/// Sends answers at once, and notices peers that vanished without a word.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

/// A connection that broke before it was accepted is nobody's loss; anything else is ours, and lasts.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind as Kind;
    if matches!(error.kind(), Kind::ConnectionAborted | Kind::ConnectionReset | Kind::ConnectionRefused) {
        return;
    }
    tracing::error!(error = error as &dyn std::error::Error, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
