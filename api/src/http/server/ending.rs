//! The events that end a connection: a shutdown of the service, or new authorities for client certificates.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

use crate::http::connection::Phase;

/// How long a new connection is kept for its first request while idle ones are being closed, since that request may be on its
/// way.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

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
        let _ = tokio::time::timeout_at(self.opened + FIRST_REQUEST, self.reached(Phase::Ended)).await;
    }

    /// Completes when the client is to send further requests on another connection.
    pub(super) async fn send_elsewhere(&mut self) {
        tokio::select! {
            () = replaced(&mut self.authorities) => {}
            () = reached(&mut self.phase, Phase::Draining) => {}
        }
    }

    /// Waits for a phase of the service.
    pub(super) async fn reached(&mut self, phase: Phase) {
        reached(&mut self.phase, phase).await;
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
