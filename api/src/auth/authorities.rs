//! The authorities of client certificates, as a connection knows them.

use tokio::sync::watch;

/// The authorities that were trusted before a connection's handshake began. They verified its client certificate.
#[derive(Debug, Clone)]
pub(crate) struct Authorities(watch::Receiver<()>);

impl Authorities {
    /// The current authorities of this sender, which is notified when they are replaced.
    pub(crate) fn current(sender: &watch::Sender<()>) -> Self {
        Self(sender.subscribe())
    }

    /// Whether others have replaced them. A certificate that they verified counts no longer then, even if its own authority is
    /// among the new ones.
    pub(crate) fn are_replaced(&self) -> bool {
        // Without a sender nobody would notice.
        self.0.has_changed().unwrap_or(true)
    }

    /// Completes when others replace them.
    pub(crate) async fn replaced(mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
impl Authorities {
    /// Authorities that are never replaced.
    pub(crate) fn for_test() -> Self {
        static SENDER: std::sync::LazyLock<watch::Sender<()>> =
            std::sync::LazyLock::new(watch::Sender::default);
        Self::current(&SENDER)
    }
}
