//! One client's connection, from its first byte to its end.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderValue, Request, header},
    response::Response,
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

use super::{HttpService, body::AnswerBody, stream::ClientStream};
use crate::http::{
    connection::{ClientBody, Connection, InFlight, Phase, Unconfirmed},
    metrics::OpenConnection,
};

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// How long a new connection is kept for its first request while idle ones are being closed: its client may have connected
/// just now, with its request on the way.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// Serves a connection to its end.
pub(super) async fn serve<S: HttpService>(
    http: http1::Builder,
    (tcp, peer): (TcpStream, SocketAddr),
    on_loopback: bool,
    service: S,
    mut phase: watch::Receiver<Phase>,
    _counted: (OwnedSemaphorePermit, OpenConnection),
) {
    let opened = Instant::now();
    let client = Arc::new(Connection::new(on_loopback, phase.clone()));
    let stream = ClientStream::new(tcp, client.clone());
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), Requests { client, service }));
    let close_when_idle = async {
        reached(&mut phase, Phase::Closing).await;
        let first_request = opened + FIRST_REQUEST;
        // Whichever comes first.
        let _ = tokio::time::timeout_at(first_request, reached(&mut phase, Phase::Ended)).await;
    };
    let result = tokio::select! {
        biased;
        result = connection.as_mut() => result,
        () = close_when_idle => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                result = connection.as_mut() => result,
                () = reached(&mut phase, Phase::Ended) => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(error = &error as &dyn std::error::Error, %peer, "a connection broke");
    }
}

/// Waits for a phase. A server that no longer exists has ended.
async fn reached(phases: &mut watch::Receiver<Phase>, phase: Phase) {
    let _ = phases.wait_for(|now| *now >= phase).await;
}

/// Answers the requests of one connection.
struct Requests<S> {
    client: Arc<Connection>,
    service: S,
}

impl<S: HttpService> hyper::service::Service<Request<Incoming>> for Requests<S> {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let in_flight = InFlight::new(self.client.clone());
        let request = request.map(|body| ClientBody::new(Body::new(body), self.client.clone()));
        // The service is always ready, and cheap to clone.
        Answering { inner: self.service.clone().call(request), in_flight: Some(in_flight) }
    }
}

/// The answer to one request.
struct Answering<F> {
    inner: F,
    /// Until it goes along with the answer's body.
    in_flight: Option<InFlight>,
}

impl<F: Future<Output = Result<Response, Infallible>> + Unpin> Future for Answering<F> {
    type Output = Result<Response<AnswerBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(mut answer) = ready!(Pin::new(&mut self.inner).poll(cx));
        let in_flight = self.in_flight.take();
        if in_flight.as_ref().is_some_and(|in_flight| in_flight.connection().is_draining()) {
            answer.headers_mut().insert(header::CONNECTION, CLOSE);
        }
        let grant = answer.extensions_mut().remove::<Unconfirmed>();
        Poll::Ready(Ok(answer.map(|body| AnswerBody::new(body, in_flight, grant))))
    }
}
