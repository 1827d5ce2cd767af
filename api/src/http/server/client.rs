//! One client's connection, from its first byte to its end.

use std::{net::SocketAddr, pin::pin, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderValue, Request, header},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, watch},
};

use super::{HttpService, body::PacedBody, stream::ClientStream};
use crate::http::{
    connection::{Connection, InFlight},
    metrics::OpenConnection,
};

const CLOSE: HeaderValue = HeaderValue::from_static("close");

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
    let stream = ClientStream::new(tcp, connection.clone());
    let draining = phase.clone();
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
    let result = tokio::select! {
        biased;
        result = connection.as_mut() => result,
        () = reached(&mut phase, Phase::Closing) => {
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

/// Waits for a phase. A server that is gone has ended.
async fn reached(phases: &mut watch::Receiver<Phase>, phase: Phase) {
    let _ = phases.wait_for(|now| *now >= phase).await;
}
