//! Serves one client's connection, from its first byte to its end.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Context,
};

use futures_util::{FutureExt, StreamExt};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    HttpService, Protocols,
    ending::{End, EndEvents, Ending, end_when_left},
    protocol::{self, Protocol},
    requests::Requests,
    stream::ClientStream,
    streams::{Running, Streams},
    timers::FIRST_HEAD_TIMEOUT,
    tls::Tls,
    transport::Transport,
    turns::{Busy, Work},
};
use crate::http::{
    connection::{Connection, LastParty, Party, Phase, Slot},
    metrics::OpenConnection,
};

/// The number of streams whose end takes as long as a request, at most.
const STREAMS_OF_REQUEST: usize = 4;

type Http1Connection<S> = http1::Connection<TokioIo<ClientStream>, Requests<S>>;

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
    let (transport, protocol) = match begin(&protocols, tcp, (party.get(), &work), &mut ending, &slot).await {
        Some(Ok(begun)) => begun,
        Some(Err(error)) => {
            return tracing::debug!(error = &error as &dyn std::error::Error, %peer, "a connection broke");
        }
        None => return,
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

/// Waits for the first bytes of a client, and detects its protocol. `None` if nothing comes in time, or if the connection has to end before.
async fn begin(
    protocols: &Protocols,
    tcp: TcpStream,
    (party, work): (Party, &Work),
    ending: &mut Ending,
    slot: &Slot,
) -> Option<io::Result<(Transport, Protocol)>> {
    let deadline = Instant::now() + FIRST_HEAD_TIMEOUT;
    let sent = tokio::select! {
        biased;
        sent = timeout_at(deadline, tcp.readable()) => sent.ok()?,
        () = ending.close_when_idle() => return None,
        () = slot.until_displaced() => return None,
    };
    if let Err(error) = sent {
        return Some(Err(error));
    }
    // A client that has sent something may wait for its turn for long, and is not idle.
    let detected = protocol::detect(tcp, protocols.tls.as_deref(), &protocols.turns, (party, work));
    tokio::select! {
        biased;
        detected = timeout_at(deadline, detected) => detected.ok(),
        () = ending.close_at_end() => None,
        () = slot.until_displaced() => None,
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
            let mut ends_when_idle = false;
            loop {
                let running = run_http1(&mut busy, &client, connection.as_mut(), &mut ends_when_idle);
                tokio::select! {
                    biased;
                    result = running => return Some(result),
                    Some(end) = ends.next() => match end {
                        End::Graceful => ends_when_idle = true,
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
///
/// A connection that `ends_when_idle` ends in its turn, after what has come by then was read. Otherwise a request that waits for the turn
/// would be lost.
async fn run_http1<S: HttpService>(
    busy: &mut Busy,
    client: &Connection,
    mut connection: Pin<&mut Http1Connection<S>>,
    ends_when_idle: &mut bool,
) -> hyper::Result<()> {
    let mut poll_and_end = |cx: &mut Context<'_>| {
        let polled = connection.as_mut().poll(cx);
        if polled.is_pending() && std::mem::take(ends_when_idle) {
            connection.as_mut().graceful_shutdown();
            return connection.as_mut().poll(cx);
        }
        polled
    };
    poll_fn(|cx| {
        busy.set_party(client.parties());
        busy.poll_in_turn(cx, || client.requests().arrived(), &mut poll_and_end)
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
