//! The events that end a connection: a shutdown of the service, or new authorities for client certificates.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{sync::watch, time::Instant};

use crate::http::connection::{Connection, Phase};

/// How long a new connection is kept for its first request while idle ones are being closed, since that request may be on its
/// way.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

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
    /// Notified when the authorities of client certificates are replaced. Present for a connection with a client certificate: the
    /// authority that verified it may be gone, so the client has to connect again.
    authorities: Option<watch::Receiver<()>>,
    opened: Instant,
}

impl Ending {
    /// Watches a new connection.
    pub(super) fn new(phase: watch::Receiver<Phase>) -> Self {
        Self { phase, authorities: None, opened: Instant::now() }
    }

    /// Makes the connection end when the authorities of client certificates are replaced.
    pub(super) fn end_with(&mut self, authorities: watch::Receiver<()>) {
        self.authorities = Some(authorities);
    }

    /// The phase of the service.
    pub(super) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.clone()
    }

    /// Completes when the connection is to be closed if it has no request.
    pub(super) async fn close_when_idle(&mut self) {
        tokio::select! {
            () = replaced(&mut self.authorities) => return,
            () = reached(&mut self.phase, Phase::Closing) => {}
        }
        // Until the first of both.
        let _ = tokio::time::timeout_at(self.opened + FIRST_REQUEST, reached(&mut self.phase, Phase::Ended))
            .await;
    }

    /// The events that end the connection of this client. A client of HTTP/2 can be asked to send further requests elsewhere; a
    /// connection of HTTP/1 is closed between two requests.
    pub(super) fn events(mut self, client: Arc<Connection>, is_http2: bool) -> EndEvents {
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
                () = reached(&mut phase, Phase::Ended) => {}
            }
            End::AtOnce
        };
        [graceful.boxed(), at_once.boxed()].into_iter().collect()
    }

    /// Completes when the client is to send further requests on another connection.
    async fn send_elsewhere(&mut self) {
        tokio::select! {
            () = replaced(&mut self.authorities) => {}
            () = reached(&mut self.phase, Phase::Draining) => {}
        }
    }
}

/// Waits for a phase. A server that no longer exists has ended.
async fn reached(phases: &mut watch::Receiver<Phase>, phase: Phase) {
    let _ = phases.wait_for(|now| *now >= phase).await;
}

/// Completes when the authorities are replaced; never without authorities.
async fn replaced(authorities: &mut Option<watch::Receiver<()>>) {
    if let Some(authorities) = authorities
        && authorities.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}
