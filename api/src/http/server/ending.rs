//! The events that end a connection: a shutdown of the service, new authorities for client certificates, or a newcomer that gets its slot.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    auth::Authorities,
    http::connection::{Connection, Phase, Slot},
};

/// How long a new connection is kept for its first request while idle ones are being closed, since that request may be on its
/// way.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// How long a client of HTTP/2 has to send further requests elsewhere, once it was asked to.
const LEFT_WITHIN: Duration = Duration::from_secs(5);
/// How long a client that was asked that has to read the last answers. At most 64 KiB of each are left by then.
const READ_WITHIN: Duration = Duration::from_secs(20);
/// The pause between two checks of a connection that its client should leave.
const CHECK_PERIOD: Duration = Duration::from_millis(500);

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It ends once its requests are answered.
    Graceful,
    /// It ends now.
    AtOnce,
}

/// The events that end a connection. A connection is polled several times for each request; this set polls a future only when it
/// was woken.
pub(super) type EndEvents = FuturesUnordered<BoxFuture<'static, End>>;

/// Watches for the events that end a connection.
pub(super) struct Ending {
    phase: watch::Receiver<Phase>,
    /// The authorities that verified the client certificate, if there is one. When they are replaced, the client has to connect again.
    authorities: Option<Authorities>,
    opened: Instant,
}

impl Ending {
    /// Watches a new connection.
    pub(super) fn new(phase: watch::Receiver<Phase>) -> Self {
        Self { phase, authorities: None, opened: Instant::now() }
    }

    /// Makes the connection end when the authorities of client certificates are replaced.
    pub(super) fn end_with(&mut self, authorities: Authorities) {
        self.authorities = Some(authorities);
    }

    /// The phase of the service.
    pub(super) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.clone()
    }

    /// Completes when the connection is to be closed if it has no request.
    pub(super) async fn close_when_idle(&mut self) {
        tokio::select! {
            () = replaced(self.authorities.clone()) => {}
            () = reached(&mut self.phase, Phase::Closing) => {}
        }
        // Until the first of both.
        let _ = tokio::time::timeout_at(self.opened + FIRST_REQUEST, reached(&mut self.phase, Phase::Ended))
            .await;
    }

    /// Completes when the connection is to be closed, even if a request has come.
    pub(super) async fn close_at_end(&mut self) {
        reached(&mut self.phase, Phase::Ended).await;
    }

    /// The events that end the connection of this client, which has this slot. A client of HTTP/2 can be asked to send further requests
    /// elsewhere; a connection of HTTP/1 is closed between two requests.
    pub(super) fn events(mut self, client: Arc<Connection>, slot: Arc<Slot>, is_http2: bool) -> EndEvents {
        let mut phase = self.phase();
        let graceful = async move {
            if is_http2 {
                self.send_elsewhere().await;
            } else {
                self.close_when_idle().await;
            }
            End::Graceful
        };
        let at_once = async move {
            tokio::select! {
                () = client.until_cut_off() => {}
                () = slot.until_displaced() => {}
                () = reached(&mut phase, Phase::Ended) => {}
            }
            End::AtOnce
        };
        [graceful.boxed(), at_once.boxed()].into_iter().collect()
    }

    /// Completes when the client is to send further requests on another connection.
    async fn send_elsewhere(&mut self) {
        tokio::select! {
            () = replaced(self.authorities.clone()) => {}
            () = reached(&mut self.phase, Phase::Draining) => {}
        }
    }
}

/// Ends a connection whose client was asked to send further requests elsewhere, once the requests that had arrived in time are
/// answered.
///
/// HTTP/2 ends such a connection by itself, but only after the client has confirmed with a PING that it was asked. A client that does not
/// could go on for ever.
pub(super) async fn end_when_left(client: Arc<Connection>) -> End {
    sleep(LEFT_WITHIN).await;
    client.requests().leave();
    while client.requests().has_awaited() {
        sleep(CHECK_PERIOD).await;
    }
    let end = Instant::now() + READ_WITHIN;
    while client.unread().load(Ordering::Relaxed) > 0 && Instant::now() < end {
        sleep(CHECK_PERIOD).await;
    }
    End::AtOnce
}

/// Waits for a phase. A server that no longer exists has ended.
async fn reached(phases: &mut watch::Receiver<Phase>, phase: Phase) {
    let _ = phases.wait_for(|now| *now >= phase).await;
}

/// Completes when the authorities are replaced; never without authorities.
async fn replaced(authorities: Option<Authorities>) {
    match authorities {
        Some(authorities) => authorities.replaced().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;
    use crate::http::connection::InFlight;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_its_client_does_not_leave_ends_with_the_last_answer_of_the_time_before() {
        let client = Connection::for_test(true);
        let in_time = InFlight::new(client.clone());
        let mut ended = std::pin::pin!(end_when_left(client.clone()));
        tokio::time::timeout(10 * LEFT_WITHIN, &mut ended).await.expect_err("a request is under way");
        let late = InFlight::new(client.clone());
        drop(in_time);
        client.unread().fetch_add(1, Ordering::Relaxed);
        tokio::time::timeout(READ_WITHIN / 2, &mut ended).await.expect_err("an answer is unread");
        client.unread().fetch_sub(1, Ordering::Relaxed);
        assert_eq!(
            tokio::time::timeout(CHECK_PERIOD, ended).await,
            Ok(End::AtOnce),
            "a late one is not awaited"
        );
        drop(late);
        client.unread().fetch_add(1, Ordering::Relaxed);
        let unread = tokio::time::timeout(2 * (LEFT_WITHIN + READ_WITHIN), end_when_left(client));
        assert_eq!(unread.await, Ok(End::AtOnce), "nobody reads");
    }

    /// Its first request may be on its way, and is answered: connect again.
    #[tokio::test(start_paused = true)]
    async fn a_new_connection_whose_authority_is_replaced_is_kept_for_its_first_request() {
        let (sender, (_serving, phase)) = (watch::Sender::default(), watch::channel(Phase::Serving));
        let mut ending = Ending::new(phase);
        ending.end_with(Authorities::current(&sender));
        let mut idle = std::pin::pin!(ending.close_when_idle());
        assert!(poll!(&mut idle).is_pending());
        sender.send_replace(());
        let kept = Instant::now();
        tokio::time::timeout(2 * FIRST_REQUEST, idle).await.expect("it is closed");
        assert!(kept.elapsed() >= FIRST_REQUEST, "{:?}", kept.elapsed());
    }
}
