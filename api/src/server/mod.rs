//! Connections: accepting them, serving them, and letting them go.

mod refusal;

use std::{convert::Infallible, future::poll_fn, io, net::SocketAddr, task::Poll, time::Duration};

use axum::{body::Body, response::Response};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

use self::refusal::Refusing;
use crate::metrics::{ConnectionMetrics, OpenConnection};

/// How long a connection may take to send the head of a request, or say nothing between two. Longer than clients keep
/// their idle connections (90 s is usual), so that they close first and none sends into a closing one.
const HEAD_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a silent peer is left alone before it is asked whether it is still there: this, and up to as many seconds
/// more as [`KEEPALIVE_SPREAD`], by its port. Thousands that connected at once must not be asked at once: what answers
/// in one burst is dropped on the way, and living peers are taken for gone.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);
const KEEPALIVE_SPREAD: u16 = 15;
/// How long it is given to answer before it is asked again.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// How often it is asked before it counts as gone: who waits for a lock must not do so long for a host that vanished.
const KEEPALIVE_PROBES: u32 = 5;
/// The pause after a connection could not be accepted for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves HTTP/1.1 until `stop` completes. Then it closes idle connections, lets running requests finish, and returns when
/// all have, or after `grace`. Who connects while some still run is answered too, once a connection, for the routes to
/// tell it that the service stops.
///
/// A caller that goes away while its request is being answered drops the handler.
pub async fn serve<S>(
    listeners: Vec<TcpListener>,
    door: S,
    stop: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
) -> io::Result<()>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    let mut http = http();
    let metrics = ConnectionMetrics::new(None);
    let [connections, latecomers] = std::array::from_fn(|_| GracefulShutdown::new());
    accept_until(stop, &listeners, &http, &door, &connections, &metrics).await;
    http.keep_alive(false);
    let finish = async {
        accept_until(connections.shutdown(), &listeners, &http, &door, &latecomers, &metrics).await;
        drop(listeners);
        latecomers.shutdown().await;
    };
    if tokio::time::timeout(grace, finish).await.is_err() {
        tracing::warn!("some requests did not finish in time; their connections are closed");
    }
    Ok(())
}

/// Accepts connections and serves them until `end` completes.
async fn accept_until<S>(
    end: impl Future<Output = ()>,
    listeners: &[TcpListener],
    http: &http1::Builder,
    door: &S,
    connections: &GracefulShutdown,
    metrics: &ConnectionMetrics,
) where
    S: Service<Request<Body>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    let mut end = std::pin::pin!(end);
    loop {
        let accepted = tokio::select! {
            // First, so that nobody is let in where nothing keeps the service.
            biased;
            () = &mut end => return,
            accepted = accept(listeners) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                serve_connection(http, stream, peer, door.clone(), connections, metrics.opened());
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

/// The next connection of any listener. Each call looks at all of them, in their order: a connection is accepted in far less
/// time than clients need to make the next, so that the first listener cannot keep the others waiting.
async fn accept(listeners: &[TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|context| {
        let accepted = listeners.iter().map(|listener| listener.poll_accept(context)).find(Poll::is_ready);
        accepted.unwrap_or(Poll::Pending)
    })
    .await
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    // `half_close(false)`, the default, is what makes a hung-up caller drop its handler; it is said all the same.
    // Not `pipeline_flush`: it would hold back the refusal of what cannot be read, which is still in the buffer.
    http.half_close(false).keep_alive(true);
    // Answers are short: to copy one behind its head costs less than to hand both to the kernel.
    http.writev(false);
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    http
}

fn serve_connection<S>(
    http: &http1::Builder,
    stream: TcpStream,
    peer: SocketAddr,
    door: S,
    connections: &GracefulShutdown,
    open: OpenConnection,
) where
    S: Service<Request<Body>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    if let Err(error) = tune(&stream) {
        // The peer is gone already, or will be noticed later.
        tracing::debug!(error = &error as &dyn std::error::Error, %peer, "a socket could not be tuned");
    }
    let service = service_fn(move |request: Request<Incoming>| {
        // The routes are always ready, and cheap to copy.
        door.clone().call(request.map(Body::new))
    });
    let connection = connections.watch(http.serve_connection(Refusing::new(TokioIo::new(stream)), service));
    tokio::spawn(async move {
        let _open = open;
        if let Err(error) = connection.await {
            tracing::debug!(error = &error as &dyn std::error::Error, %peer, "a connection broke");
        }
    });
}

/// Sends answers at once, and notices peers that vanished without a word.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let spread = Duration::from_secs(u64::from(stream.peer_addr()?.port() % KEEPALIVE_SPREAD));
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER + spread)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::sync::Arc;

    use axum::{Router, routing::get};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::{Notify, oneshot},
        task::JoinHandle,
    };

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    /// A server with a route that answers at once and one that waits.
    struct Server {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        served: JoinHandle<io::Result<()>>,
        /// Told when a request begins to wait.
        began: Arc<Notify>,
        /// Lets a waiting request go on.
        go_on: Arc<Notify>,
        /// Told when a waiting request is dropped or done.
        ended: Arc<Notify>,
    }

    struct NotifyOnDrop(Arc<Notify>);

    impl Drop for NotifyOnDrop {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }

    impl Server {
        async fn start(grace: Duration) -> Self {
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
            let router = Router::new().route("/now", get(|| async { "now" })).route("/waits", get(waits));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (stop, stopped) = oneshot::channel::<()>();
            let stop_requested = async { drop(stopped.await) };
            let served = tokio::spawn(serve(vec![listener], router, stop_requested, grace));
            Self { address, stop, served, began, go_on, ended }
        }

        async fn send(&self, request: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            stream
        }
    }

    /// What comes until the connection is closed.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        tokio::time::timeout(DEADLINE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
        text
    }

    async fn in_time<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(DEADLINE, future).await.unwrap()
    }

    #[tokio::test]
    async fn a_caller_that_hangs_up_drops_its_handler() {
        let server = Server::start(DEADLINE).await;
        let stream = server.send("GET /waits HTTP/1.1\r\nhost: x\r\n\r\n").await;
        in_time(server.began.notified()).await;
        drop(stream);
        in_time(server.ended.notified()).await;
    }

    #[tokio::test]
    async fn what_is_not_http_is_refused_with_a_problem() {
        let server = Server::start(DEADLINE).await;
        let answer = rest(server.send("NONSENSE\r\n\r\n").await).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains("/problems/invalid-request"), "{answer}");
    }

    #[tokio::test]
    async fn stopping_closes_idle_connections_and_lets_requests_finish() {
        let server = Server::start(DEADLINE).await;
        let idle = server.send("").await;
        let waiting = server.send("GET /waits HTTP/1.1\r\nhost: x\r\n\r\n").await;
        in_time(server.began.notified()).await;
        server.stop.send(()).unwrap();
        assert_eq!(rest(idle).await, "");
        assert!(!server.served.is_finished());
        server.go_on.notify_one();
        assert!(rest(waiting).await.ends_with("waited"));
        in_time(server.served).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_comes_while_the_last_requests_run_is_answered_once() {
        let server = Server::start(DEADLINE).await;
        let idle = server.send("").await;
        let waiting = server.send("GET /waits HTTP/1.1\r\nhost: x\r\n\r\n").await;
        in_time(server.began.notified()).await;
        server.stop.send(()).unwrap();
        assert_eq!(rest(idle).await, "", "the service is stopping");
        let mut silent = TcpStream::connect(server.address).await.unwrap();
        let twice = "GET /now HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
        let mut late = TcpStream::connect(server.address).await.unwrap();
        late.write_all(twice.as_bytes()).await.unwrap();
        let answer = rest(late).await;
        assert!(
            answer.contains("connection: close\r\n") && answer.matches("HTTP/1.1 200").count() == 1,
            "{answer}"
        );
        server.go_on.notify_one();
        assert!(rest(waiting).await.ends_with("waited"));
        in_time(server.served).await.unwrap().unwrap();
        assert_eq!(in_time(silent.read(&mut [0])).await.unwrap(), 0, "nor does a silent one keep it");
    }

    #[tokio::test]
    async fn stopping_takes_no_longer_than_the_grace() {
        let server = Server::start(Duration::from_millis(10)).await;
        let _waiting = server.send("GET /waits HTTP/1.1\r\nhost: x\r\n\r\n").await;
        in_time(server.began.notified()).await;
        server.stop.send(()).unwrap();
        in_time(server.served).await.unwrap().unwrap();
    }
}
