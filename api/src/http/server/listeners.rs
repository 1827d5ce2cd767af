//! The sockets from which a thread accepts connections. It survives errors.

use std::{
    io,
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    thread,
    time::Duration,
};

use db_locks_service::LogLimit;
use rustix::event::{PollFd, PollFlags, poll};
use socket2::{SockRef, TcpKeepalive};

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
/// The number of connections that are accepted in a row from one listener.
const ACCEPTED_IN_A_ROW: usize = 1_024;

static NOT_ACCEPTED: LogLimit = LogLimit::new();

/// The sockets from which a thread accepts connections.
pub(super) struct Listeners {
    listeners: Vec<Listener>,
    /// It is readable once the [`Stop`] is dropped.
    stopped: UnixStream,
}

/// Ends the acceptance of connections on drop.
pub(super) struct Stop(#[expect(dead_code, reason = "only its end matters")] UnixStream);

struct Listener {
    socket: TcpListener,
    on_loopback: bool,
}

impl Listeners {
    /// Takes these listeners from the runtime.
    pub(super) fn new(listeners: Vec<tokio::net::TcpListener>) -> io::Result<(Self, Stop)> {
        let listeners = listeners.into_iter().map(Listener::new).collect::<io::Result<_>>()?;
        let (stop, stopped) = UnixStream::pair()?;
        Ok((Self { listeners, stopped }, Stop(stop)))
    }

    /// Accepts connections until it is stopped. `admit` gets each of them, with the address of the client, and whether that of the listener is
    /// a loopback address.
    pub(super) fn accept_all(&self, admit: impl Fn(TcpStream, SocketAddr, bool)) {
        loop {
            let sockets = self.listeners.iter().map(|listener| PollFd::new(&listener.socket, PollFlags::IN));
            let mut ready: Vec<_> = sockets.chain([PollFd::new(&self.stopped, PollFlags::IN)]).collect();
            if let Err(error) = poll(&mut ready, None) {
                pause_after(&error.into());
                continue;
            }
            if ready.pop().is_none_or(|stopped| !stopped.revents().is_empty()) {
                return;
            }
            for (listener, ready) in self.listeners.iter().zip(ready) {
                if !ready.revents().is_empty() {
                    listener.accept_some(&admit);
                }
            }
        }
    }
}

impl Listener {
    fn new(listener: tokio::net::TcpListener) -> io::Result<Self> {
        let on_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        Ok(Self { socket: listener.into_std()?, on_loopback })
    }

    fn accept_some(&self, admit: impl Fn(TcpStream, SocketAddr, bool)) {
        for _ in 0..ACCEPTED_IN_A_ROW {
            let accepted = self.socket.accept().and_then(|(tcp, peer)| {
                tcp.set_nonblocking(true)?;
                Ok((tcp, peer))
            });
            match accepted {
                Ok((tcp, peer)) => admit(tcp, peer, self.on_loopback),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return pause_after(&error),
            }
        }
    }
}

/// Whether the client has closed the connection, or it broke, before a byte came.
pub(super) fn is_gone(tcp: &TcpStream) -> bool {
    match SockRef::from(tcp).peek(&mut [MaybeUninit::uninit()]) {
        Ok(bytes) => bytes == 0,
        Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    }
}

/// Sets socket options: send answers at once, and probe silent peers.
pub(super) fn set_options(stream: &TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let spread = Duration::from_secs(u64::from(peer.port() % KEEPALIVE_SPREAD));
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER + spread)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Waits after an error, unless only this connection is affected: it broke before it was accepted. Other errors are the service's own, and
/// last.
fn pause_after(error: &io::Error) {
    use io::ErrorKind as Kind;
    if matches!(
        error.kind(),
        Kind::ConnectionAborted | Kind::ConnectionReset | Kind::ConnectionRefused | Kind::Interrupted
    ) {
        return;
    }
    if let Some(left_out) = NOT_ACCEPTED.pass() {
        tracing::error!(
            error = error as &dyn std::error::Error,
            left_out,
            "a connection could not be accepted"
        );
    }
    thread::sleep(ACCEPT_PAUSE);
}
