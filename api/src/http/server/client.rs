//! One client's connection, from its first byte to its end.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, Request, header},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

use super::{HttpService, body::PacedBody, stream::ClientStream};
use crate::http::{
    connection::{Connection, InFlight},
    metrics::OpenConnection,
};

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// How long a new connection is kept for its first request while idle ones are being closed: its client may have connected
/// just now, with its request on the way.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// How far the service is on its way to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// It serves.
    Serving,
    /// It stops: each answer is the last one of its connection.
    Draining,
    /// Connections without a request are closed.
    Closing,
    /// All connections are closed.
    Ended,
}

/// Serves a connection to its end.
pub(super) async fn serve<S: HttpService>(
    http: http1::Builder,
    (tcp, peer): (TcpStream, SocketAddr),
    connection: Arc<Connection>,
    service: S,
    mut phase: watch::Receiver<Phase>,
    _counted: (OwnedSemaphorePermit, OpenConnection),
) {
    let opened = Instant::now();
    let stream = ClientStream::new(tcp, connection.clone());
    let draining = phase.clone();
    let mut ended = phase.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let in_flight = InFlight::new(connection.clone());
        request.extensions_mut().insert(connection.clone());
        // The routes are always ready, and cheap to copy.
        let answer = service.clone().call(request.map(Body::new));
        let draining = draining.clone();
        async move {
            let mut answer = answer.await?;
            if *draining.borrow() >= Phase::Draining {
                answer.headers_mut().insert(header::CONNECTION, CLOSE);
            }
            Ok::<_, std::convert::Infallible>(answer.map(|body| PacedBody::new(body, in_flight)))
        }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let close_when_idle = async {
        reached(&mut phase, Phase::Closing).await;
        tokio::time::sleep_until(opened + FIRST_REQUEST).await;
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
        () = reached(&mut ended, Phase::Ended) => return,
    };
    if let Err(error) = result {
        tracing::debug!(error = &error as &dyn std::error::Error, %peer, "a connection broke");
    }
}

/// Waits for a phase. A server that is gone has ended.
async fn reached(phases: &mut watch::Receiver<Phase>, phase: Phase) {
    let _ = phases.wait_for(|now| *now >= phase).await;
}
