//! Accepts connections, and survives errors.
//!
//! A thread accepts them, so that the kernel gives acceptance its share of the time, however busy the runtime's threads are. Otherwise a
//! flood of requests and one of connections together would delay every new connection: the kernel keeps some thousands until they are
//! accepted, in one line for all clients. What is closed already ends here. The rest waits until the runtime serves it, a few at a time.

use std::{
    convert::Infallible,
    io,
    net::{self, SocketAddr},
    sync::Arc,
};

use db_locks_service::{LogLimit, Unavailable, spawn_critical, spawn_critical_thread};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    HttpService, Protocols, client,
    listeners::{Listeners, Stop, is_gone, set_options},
    refuse::Refuser,
    turns::{Arrivals, poll_everything_else},
};
use crate::http::{
    connection::{LastParty, Phase, Slot, Slots},
    metrics::ConnectionMetrics,
};

/// The number of connections that are begun in a row before everything else that is ready is polled. Otherwise clients that connect
/// without end would delay everybody.
const IN_A_ROW: usize = 32;
/// The same as [`IN_A_ROW`] for connections whose clients turn out to be gone.
const GONE_IN_A_ROW: usize = 8 * IN_A_ROW;
/// The number of accepted connections that wait, from which on parties with their share of them are refused: as many as the kernel keeps.
const MOST_ARRIVALS: usize = 4_096;

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

/// An accepted connection. The runtime does not know it yet, which saves time if its client turns out to be gone.
struct Arrival {
    tcp: net::TcpStream,
    peer: SocketAddr,
    party: LastParty,
    slot: Arc<Slot>,
    on_loopback: bool,
    /// A stop waits for all who have this.
    phase: watch::Receiver<Phase>,
}

/// The thread that accepts connections, and the task that begins them. They end on drop.
pub(super) struct Accepting {
    _accepts: Stop,
    _begins: AbortOnDropHandle<Infallible>,
}

impl<S: HttpService> Acceptor<S> {
    /// Accepts connections from these listeners.
    ///
    /// # Errors
    /// If the system gives no thread or descriptor for that.
    pub(super) fn accept_on(&self, listeners: Vec<TcpListener>) -> io::Result<Accepting> {
        let (listeners, accepts) = Listeners::new(listeners)?;
        let arrivals = Arc::new(Arrivals::new(MOST_ARRIVALS));
        let (acceptor, arrived, runtime) = (self.clone(), Arc::clone(&arrivals), Handle::current());
        spawn_critical_thread("accept", move || {
            let _runtime = runtime.enter();
            listeners.accept_all(|tcp, peer, on_loopback| acceptor.admit(tcp, peer, on_loopback, &arrived));
        })?;
        let begins = AbortOnDropHandle::new(spawn_critical(self.clone().begin_all(arrivals)));
        Ok(Accepting { _accepts: accepts, _begins: begins })
    }

    fn admit(&self, tcp: net::TcpStream, peer: SocketAddr, on_loopback: bool, arrivals: &Arrivals<Arrival>) {
        if is_gone(&tcp) {
            return;
        }
        let mut party = LastParty::of_newcomer(peer.ip(), self.protocols.turns.newcomers());
        // Before it takes the slot of another one.
        if arrivals.is_full_for(party.get()) {
            return self.refuse(tcp, Unavailable::Overloaded);
        }
        let Some(slot) = self.slots.take(party.get(), peer.ip()) else {
            return self.refuse(tcp, Unavailable::Connections);
        };
        if let Err(error) = set_options(&tcp, peer) {
            // The peer is gone, or its end is noticed later.
            tracing::debug!(error = &error as &dyn std::error::Error, %peer, "a socket could not be tuned");
        }
        party.set_slot(&slot);
        let phase = self.phase.subscribe();
        arrivals.push(party.get(), Arrival { tcp, peer, party, slot, on_loopback, phase });
    }

    fn refuse(&self, tcp: net::TcpStream, reason: Unavailable) {
        if let Some(left_out) = TOO_MANY.pass() {
            tracing::warn!(
                left_out,
                "as many connections are open, or wait to begin, as may be, or as these clients may have; new ones are refused"
            );
        }
        self.metrics.refused();
        self.refuser.refuse(tcp, reason);
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

    fn begin(&self, Arrival { tcp, peer, party, slot, on_loopback, phase }: Arrival) {
        let tcp = match TcpStream::from_std(tcp) {
            Ok(tcp) => tcp,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                return tracing::debug!(error, %peer, "a connection could not begin");
            }
        };
        let (protocols, service) = (self.protocols.clone(), self.service.clone());
        let counted = (slot, self.metrics.opened());
        // Panics of handlers become answers. A panic elsewhere ends only this connection.
        tokio::spawn(client::serve(protocols, (tcp, peer, party), on_loopback, service, phase, counted));
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests;
