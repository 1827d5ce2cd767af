//! Accepts connections, and survives errors.
//!
//! A thread accepts them, so that the kernel gives acceptance its share of the time, however busy the runtime's threads are. Otherwise a
//! flood of requests and one of connections together would delay every new connection: the kernel keeps some thousands until they are
//! accepted, in one line for all clients. What is closed already ends here. The rest waits until the runtime serves it, a few at a time.

use std::{convert::Infallible, io, mem::MaybeUninit, net::SocketAddr, sync::Arc, time::Duration};

use db_locks_service::{LogLimit, spawn_critical, spawn_critical_thread};
use futures_util::future::join_all;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::{oneshot, watch},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    HttpService, Protocols, client,
    refuse::Refuser,
    turns::{Arrivals, poll_everything_else},
};
use crate::http::{
    connection::{LastParty, Phase, Slot, Slots},
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
/// The number of connections that are begun in a row before everything else that is ready is polled. Otherwise clients that connect
/// without end would delay everybody.
const IN_A_ROW: usize = 32;
/// The same for connections whose clients turn out to be gone.
const GONE_IN_A_ROW: usize = 8 * IN_A_ROW;
/// The number of accepted connections that wait, from which on parties with their share of them are refused: as many as the kernel keeps.
const MOST_ARRIVALS: usize = 4_096;

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

/// An accepted connection.
struct Arrival {
    tcp: TcpStream,
    peer: SocketAddr,
    party: LastParty,
    slot: Arc<Slot>,
    on_loopback: bool,
}

/// The thread that accepts connections, and the task that begins them. They end on drop.
pub(super) struct Accepting {
    _accepts: oneshot::Sender<Infallible>,
    _begins: AbortOnDropHandle<Infallible>,
}

impl<S: HttpService> Acceptor<S> {
    /// Accepts connections from these listeners.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(super) fn accept_on(&self, listeners: Vec<TcpListener>) -> io::Result<Accepting> {
        let arrivals = Arc::new(Arrivals::new(MOST_ARRIVALS));
        let (accepts, stopped) = oneshot::channel();
        let (acceptor, arrived) = (self.clone(), Arc::clone(&arrivals));
        // The runtime's threads wait for the sockets, and call this one when there are connections to be accepted.
        let runtime = Handle::current();
        spawn_critical_thread("accept", move || {
            let accepting = listeners.iter().map(|listener| acceptor.accept_from(listener, &arrived));
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = stopped => {}
                    _ = join_all(accepting) => {}
                }
            });
        })?;
        let begins = AbortOnDropHandle::new(spawn_critical(self.clone().begin_all(arrivals)));
        Ok(Accepting { _accepts: accepts, _begins: begins })
    }

    async fn accept_from(&self, listener: &TcpListener, arrivals: &Arrivals<Arrival>) -> Infallible {
        let on_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        loop {
            match listener.accept().await {
                Ok((tcp, peer)) => self.admit(tcp, peer, on_loopback, arrivals),
                Err(error) => pause_after(&error).await,
            }
        }
    }

    fn admit(&self, tcp: TcpStream, peer: SocketAddr, on_loopback: bool, arrivals: &Arrivals<Arrival>) {
        if is_gone(&tcp) {
            return;
        }
        let mut party = LastParty::of_newcomer(peer.ip(), self.protocols.turns.newcomers());
        let Some(slot) = self.slots.take(party.get(), peer.ip()) else {
            return self.refuse(tcp);
        };
        if let Err(error) = set_socket_options(&tcp) {
            // The peer is gone, or its end is noticed later.
            tracing::debug!(error = &error as &dyn std::error::Error, %peer, "a socket could not be tuned");
        }
        party.set_slot(&slot);
        let arrival = Arrival { tcp, peer, party, slot, on_loopback };
        if let Err(Arrival { tcp, .. }) = arrivals.push(arrival.party.get(), arrival) {
            self.refuse(tcp);
        }
    }

    fn refuse(&self, tcp: TcpStream) {
        if let Some(left_out) = TOO_MANY.pass() {
            tracing::warn!(
                left_out,
                "as many connections are open as may be, or as these clients may have; new ones are refused"
            );
        }
        self.metrics.refused();
        self.refuser.refuse(tcp);
    }

    /// Begins connections in the order of their turns, a few in a row.
    async fn begin_all(self, arrivals: Arc<Arrivals<Arrival>>) -> Infallible {
        loop {
            let mut begun = 0;
            for _ in 0..GONE_IN_A_ROW {
                let arrival = arrivals.next().await;
                if !is_gone(&arrival.tcp) {
                    self.begin(arrival);
                    begun += 1;
                }
                if begun == IN_A_ROW {
                    break;
                }
            }
            poll_everything_else().await;
        }
    }

    fn begin(&self, Arrival { tcp, peer, party, slot, on_loopback }: Arrival) {
        let (protocols, service) = (self.protocols.clone(), self.service.clone());
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

/// Whether the client has closed the connection, or it broke, before a byte came.
fn is_gone(tcp: &TcpStream) -> bool {
    match SockRef::from(tcp).peek(&mut [MaybeUninit::uninit()]) {
        Ok(bytes) => bytes == 0,
        Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
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
        sync::atomic::{AtomicUsize, Ordering},
    };

    use axum::{http::Request, response::Response};
    use tokio::task::{JoinSet, yield_now};

    use super::*;
    use crate::http::{connection::ClientBody, server::turns::Turns};

    /// No more than a kernel keeps until they are accepted.
    const CLIENTS: usize = 100;
    /// More than the runtime's queue of a thread has places for.
    const TASKS: usize = 600;

    fn answer(_: Request<ClientBody>) -> Ready<Result<Response, Infallible>> {
        ready(Ok(Response::default()))
    }

    fn acceptor() -> Acceptor<impl HttpService> {
        let (http1, turns) = (crate::http::server::http1(), Turns::new(1));
        Acceptor {
            protocols: Protocols { http1, tls: None, memory: Arc::default(), turns },
            service: tower::service_fn(answer),
            phase: watch::channel(Phase::Serving).0,
            slots: Slots::new(CLIENTS, false),
            refuser: Refuser::default(),
            metrics: ConnectionMetrics::new(CLIENTS),
        }
    }

    fn connect(address: SocketAddr, count: usize) -> Vec<std::net::TcpStream> {
        (0..count).map(|_| std::net::TcpStream::connect(address).unwrap()).collect()
    }

    #[tokio::test]
    async fn clients_that_connect_at_once_leave_other_tasks_a_chance() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let clients = connect(listener.local_addr().unwrap(), CLIENTS);
        let acceptor = acceptor();
        let _accepting = acceptor.accept_on(vec![listener]).unwrap();
        let mut begun = 0;
        while begun < CLIENTS {
            yield_now().await;
            let now = acceptor.phase.receiver_count();
            assert!(now - begun <= IN_A_ROW, "{} were begun in a row", now - begun);
            begun = now;
        }
        drop(clients);
    }

    /// Requests of others keep the runtime's only thread busy: each time that a task is polled it takes a millisecond.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn connections_are_accepted_while_very_many_tasks_are_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, polls) = (acceptor(), Arc::new(AtomicUsize::new(0)));
        let accepting = acceptor.clone();
        let _accepting = tokio::spawn(async move { accepting.accept_on(vec![listener]) }).await.unwrap();
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let polls = Arc::clone(&polls);
            tasks.spawn(async move {
                loop {
                    std::thread::sleep(Duration::from_millis(1));
                    polls.fetch_add(1, Ordering::Relaxed);
                    yield_now().await;
                }
            });
        }
        let clients = connect(address, CLIENTS);
        let before = polls.load(Ordering::Relaxed);
        while acceptor.slots.free() > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let meanwhile = polls.load(Ordering::Relaxed) - before;
        assert!(meanwhile < 2 * TASKS, "{meanwhile} others were polled meanwhile");
        drop(clients);
    }

    #[tokio::test]
    async fn a_client_that_is_gone_takes_no_slot() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..CLIENTS {
            drop(connect(address, 1));
        }
        let waiting = connect(address, 1);
        let acceptor = acceptor();
        let _accepting = acceptor.accept_on(vec![listener]).unwrap();
        while acceptor.phase.receiver_count() == 0 {
            yield_now().await;
            assert!(acceptor.slots.free() >= CLIENTS - 1);
        }
        drop(waiting);
    }
}
