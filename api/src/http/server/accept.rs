//! Accepts connections, and survives errors.

use std::{convert::Infallible, io, net::SocketAddr, panic::resume_unwind, time::Duration};

use db_locks_service::LogLimit;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use super::{HttpService, Protocols, client, refuse::Refuser, turns::poll_everything_else};
use crate::http::{
    connection::{LastParty, Phase, Slots},
    metrics::ConnectionMetrics,
};

/// The idle time before a keepalive probe, to which up to [`KEEPALIVE_SPREAD`] seconds are added, by the peer's port. Thousands of
/// peers that connected at once must not be probed at once: answers in one burst get lost, and living peers would count as gone.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);
const KEEPALIVE_SPREAD: u16 = 15;
/// The time between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// The number of unanswered probes after which a peer counts as gone. Others wait for the locks of a vanished host.
const KEEPALIVE_PROBES: u32 = 5;
/// The pause after a connection could not be accepted because file descriptors or memory ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The number of connections that are accepted in a row before everything else that is ready is polled. Otherwise clients that connect
/// without end would delay everybody.
const IN_A_ROW: usize = 32;

static NOT_ACCEPTED: LogLimit = LogLimit::new();
static TOO_MANY: LogLimit = LogLimit::new();

/// Accepts connections, and serves each in its own task.
#[derive(Clone)]
pub(super) struct Acceptor<S> {
    pub(super) protocols: Protocols,
    pub(super) service: S,
    /// Each connection holds a receiver until it ends.
    pub(super) phase: watch::Sender<Phase>,
    pub(super) slots: Slots,
    pub(super) refuser: Refuser,
    pub(super) metrics: ConnectionMetrics,
}

impl<S: HttpService> Acceptor<S> {
    /// Accepts connections, for each listener in a task of its own. So the runtime's threads accept them between other tasks.
    pub(super) fn accept_on(&self, listeners: Vec<TcpListener>) -> JoinSet<Infallible> {
        listeners.into_iter().map(|listener| self.clone().accept_from(listener)).collect()
    }

    async fn accept_from(self, listener: TcpListener) -> Infallible {
        let on_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        loop {
            for _ in 0..IN_A_ROW {
                match listener.accept().await {
                    Ok((stream, peer)) => self.admit(stream, peer, on_loopback),
                    Err(error) => pause_after(&error).await,
                }
            }
            poll_everything_else().await;
        }
    }

    fn admit(&self, tcp: TcpStream, peer: SocketAddr, on_loopback: bool) {
        let mut party = LastParty::of_newcomer(peer.ip(), self.protocols.turns.newcomers());
        let Some(slot) = self.slots.take(party.get(), peer.ip()) else {
            if let Some(left_out) = TOO_MANY.pass() {
                tracing::warn!(
                    left_out,
                    "as many connections are open as may be, or as these clients may have; new ones are refused"
                );
            }
            self.metrics.refused();
            return self.refuser.refuse(tcp);
        };
        if let Err(error) = set_socket_options(&tcp) {
            // The peer is gone, or its end is noticed later.
            tracing::debug!(error = &error as &dyn std::error::Error, %peer, "a socket could not be tuned");
        }
        let (protocols, service) = (self.protocols.clone(), self.service.clone());
        party.set_slot(&slot);
        let counted = (slot, self.metrics.opened());
        // Panics of handlers become answers. A panic elsewhere ends only this connection.
        tokio::spawn(client::serve(
            protocols,
            (tcp, peer, party),
            on_loopback,
            service,
            self.phase.subscribe(),
            counted,
        ));
    }
}

/// Waits for these tasks, which never end. Passes on a panic.
pub(super) async fn run(mut accepting: JoinSet<Infallible>) -> Infallible {
    match accepting.join_next().await {
        Some(Ok(never)) => match never {},
        Some(Err(error)) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime shuts down.
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Sets socket options: send answers at once, and probe silent peers.
fn set_socket_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let spread = Duration::from_secs(u64::from(stream.peer_addr()?.port() % KEEPALIVE_SPREAD));
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER + spread)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Whether only this connection is affected: it broke before it was accepted. Other errors are the service's own, and last.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind as Kind;
    if matches!(error.kind(), Kind::ConnectionAborted | Kind::ConnectionReset | Kind::ConnectionRefused) {
        return;
    }
    if let Some(left_out) = NOT_ACCEPTED.pass() {
        tracing::error!(
            error = error as &dyn std::error::Error,
            left_out,
            "a connection could not be accepted"
        );
    }
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::{
        future::{Ready, ready},
        sync::Arc,
    };

    use axum::{http::Request, response::Response};
    use tokio::task::yield_now;

    use super::*;
    use crate::http::{connection::ClientBody, server::turns::Turns};

    /// No more than a kernel keeps until they are accepted.
    const CLIENTS: usize = 100;

    fn answer(_: Request<ClientBody>) -> Ready<Result<Response, Infallible>> {
        ready(Ok(Response::default()))
    }

    #[tokio::test]
    async fn clients_that_connect_at_once_leave_other_tasks_a_chance() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..CLIENTS).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let (http1, turns) = (crate::http::server::http1(), Turns::new(1));
        let acceptor = Acceptor {
            protocols: Protocols { http1, tls: None, memory: Arc::default(), turns },
            service: tower::service_fn(answer),
            phase: watch::channel(Phase::Serving).0,
            slots: Slots::new(CLIENTS, false),
            refuser: Refuser::default(),
            metrics: ConnectionMetrics::new(CLIENTS),
        };
        let _accepting = acceptor.accept_on(vec![listener]);
        let mut left = CLIENTS;
        while left > 0 {
            yield_now().await;
            let now = acceptor.slots.free();
            assert!(left - now <= IN_A_ROW, "{} were accepted in a row", left - now);
            left = now;
        }
        drop(clients);
    }
}
