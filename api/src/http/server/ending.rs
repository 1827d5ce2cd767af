//! When a connection ends: because the service does, or because its client's certificate has to be verified again.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

use crate::http::connection::Phase;

/// How long a new connection is kept for its first request while idle ones are being closed: its client may have connected
/// just now, with its request on the way.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// What ends a connection.
pub(super) struct Ending {
    phase: watch::Receiver<Phase>,
    /// Notified when the authorities of client certificates are replaced. For a connection with such a certificate: it was verified
    /// by authorities that may be gone, so the client has to connect again.
    authorities: Option<watch::Receiver<()>>,
    opened: Instant,
}

impl Ending {
    /// For a connection that was just accepted.
    pub(super) fn new(phase: watch::Receiver<Phase>) -> Self {
        Self { phase, authorities: None, opened: Instant::now() }
    }

    /// Has the connection end when the authorities of its client's certificate are replaced.
    pub(super) fn end_with(&mut self, authorities: watch::Receiver<()>) {
        self.authorities = Some(authorities);
    }

    /// The phase of the service.
    pub(super) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.clone()
    }

    /// Waits until the connection is to be closed if it has no request.
    pub(super) async fn close_when_idle(&mut self) {
        tokio::select! {
            () = replaced(&mut self.authorities) => return,
            () = reached(&mut self.phase, Phase::Closing) => {}
        }
        // Until the first of both.
        let _ = tokio::time::timeout_at(self.opened + FIRST_REQUEST, self.reached(Phase::Ended)).await;
    }

    /// Waits until the client is to send further requests on another connection.
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

/// Waits until the authorities are replaced, if there are any.
async fn replaced(authorities: &mut Option<watch::Receiver<()>>) {
    if let Some(authorities) = authorities
        && authorities.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}
