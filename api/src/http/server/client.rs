//! Serves one client's connection, from its first byte to its end.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
};

use futures_util::{FutureExt, StreamExt};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::watch};

use super::{
    HttpService, Protocols,
    ending::{End, EndEvents, Ending, end_when_left},
    protocol::{self, Protocol},
    requests::Requests,
    stream::ClientStream,
    streams::{Running, Streams},
    timers::FIRST_HEAD_TIMEOUT,
    tls::Tls,
    turns::{Busy, Work},
};
use crate::http::{
    connection::{Connection, LastParty, Phase, Slot},
    metrics::OpenConnection,
};

/// The number of streams whose end takes as long as a request, at most.
const STREAMS_OF_REQUEST: usize = 4;

/// Serves a connection to its end.
pub(super) async fn serve<S: HttpService>(
    protocols: Protocols,
    (tcp, peer, party): (TcpStream, SocketAddr, LastParty),
    on_loopback: bool,
    service: S,
    phase: watch::Receiver<Phase>,
    (slot, _open): (Arc<Slot>, OpenConnection),
) {
    // Before the handshake: they must not be newer than those that verify the certificate.
    let authorities = protocols.tls.as_deref().map(Tls::authorities);
    let mut ending = Ending::new(phase);
    let work = Work::default();
    let start = tokio::time::timeout(
        FIRST_HEAD_TIMEOUT,
        protocol::detect(tcp, protocols.tls.as_deref(), &protocols.turns, (party.get(), &work)),
    );
    let started = tokio::select! {
        biased;
        started = start => started,
        () = ending.close_when_idle() => return,
        () = slot.until_displaced() => return,
    };
    let (transport, protocol) = match started {
        Ok(Ok(started)) => started,
        Ok(Err(error)) => {
            return tracing::debug!(error = &error as &dyn std::error::Error, %peer, "a connection broke");
        }
        // The client sent nothing.
        Err(_) => return,
    };
    let certificate = authorities.and_then(|authorities| transport.certificate(authorities));
    if let Some(certificate) = &certificate {
        ending.end_with(certificate.authorities().clone());
    }
    let client = Arc::new(Connection::new(on_loopback, (peer.ip(), party), ending.phase(), certificate));
    let _registration = protocols.memory.register(&client);
    let is_http2 = protocol == Protocol::Http2;
    let (turns, memory) = (protocols.turns.clone(), Arc::clone(&protocols.memory));
    let io =
        TokioIo::new(ClientStream::new(transport, client.clone(), is_http2, (turns, work.clone()), memory));
    let requests = Requests::new(Arc::clone(&client), service, Arc::clone(&protocols.memory));
    let ends = ending.events(client, Arc::clone(&slot), is_http2);
    if let Some(Err(error)) = speak(&protocols, protocol, (io, work), requests, ends).await {
        tracing::debug!(error = &error as &dyn std::error::Error, %peer, "a connection broke");
    }
}

/// Answers the requests of a connection until it ends; `None` if it was ended without waiting for its requests.
async fn speak<S: HttpService>(
    protocols: &Protocols,
    protocol: Protocol,
    (io, work): (TokioIo<ClientStream>, Work),
    requests: Requests<S>,
    mut ends: EndEvents,
) -> Option<hyper::Result<()>> {
    match protocol {
        Protocol::Http1 => {
            let client = Arc::clone(requests.client());
            let mut connection = pin!(protocols.http1.serve_connection(io, requests));
            let mut busy = Busy::new(protocols.turns.clone(), work);
            loop {
                tokio::select! {
                    biased;
                    result = run_http1(&mut busy, &client, connection.as_mut()) => return Some(result),
                    Some(end) = ends.next() => match end {
                        End::Graceful => connection.as_mut().graceful_shutdown(),
                        End::AtOnce => return None,
                    }
                }
            }
        }
        Protocol::Http2 => {
            let streams = Streams::default();
            let client = Arc::clone(requests.client());
            let requests = requests.over_http2(streams.clone());
            let mut connection = pin!(super::http2(streams.spawner()).serve_connection(io, requests));
            let mut running = Running::new(protocols.turns.clone(), work);
            let ended = loop {
                tokio::select! {
                    biased;
                    result = run_http2(&mut running, &streams, &client, connection.as_mut()) => break Some(result),
                    Some(end) = ends.next() => match end {
                        // Tell the client to send further requests elsewhere.
                        End::Graceful => {
                            connection.as_mut().graceful_shutdown();
                            ends.push(end_when_left(Arc::clone(&client)).boxed());
                        }
                        End::AtOnce => break None,
                    }
                }
            };
            // Its streams end now, all at once.
            protocols.turns.note(client.requests().in_flight() / STREAMS_OF_REQUEST);
            ended
        }
    }
}

/// Runs an HTTP/1.1 connection. With pipelined requests, hyper answers up to 16 of them in a poll.
async fn run_http1<C: Future>(
    busy: &mut Busy,
    client: &Connection,
    mut connection: Pin<&mut C>,
) -> C::Output {
    poll_fn(|cx| {
        busy.set_party(client.parties());
        busy.poll_in_turn(cx, || client.requests().arrived(), |cx| connection.as_mut().poll(cx))
    })
    .await
}

/// Runs an HTTP/2 connection with its streams.
async fn run_http2<C: Future>(
    running: &mut Running,
    streams: &Streams,
    client: &Connection,
    mut connection: Pin<&mut C>,
) -> C::Output {
    poll_fn(|cx| running.poll(cx, streams, || client.parties(), |cx| connection.as_mut().poll(cx))).await
}
