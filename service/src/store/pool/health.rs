//! What one connection's failure says about the others.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// What is known about the way to the database, shared by all pools of a store.
#[derive(Debug, Default)]
pub(in super::super) struct Health(Mutex<Suspicions>);

/// Which connections must not be used any more.
#[derive(Debug, Clone, Copy, Default)]
struct Suspicions {
    /// A statement sent at this moment was never answered: a connection that has not answered since then may be as dead.
    silent_since: Option<Instant>,
    /// A server said at this moment that it takes no writes: a connection opened before may lead to a demoted primary.
    demoted_at: Option<Instant>,
}

impl Health {
    fn suspicions(&self) -> MutexGuard<'_, Suspicions> {
        // Two instants, each replaced at once: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A statement sent at `sent` was not answered, or its connection broke.
    pub(super) fn note_silence(&self, sent: Instant) {
        let mut suspicions = self.suspicions();
        suspicions.silent_since = suspicions.silent_since.max(Some(sent));
    }

    /// A server takes no writes now.
    pub(in super::super) fn note_read_only(&self) {
        self.suspicions().demoted_at = Some(Instant::now());
    }

    /// Whether a connection may be used that was opened and last answered at these moments.
    pub(super) fn trusts(&self, opened: Instant, answered: Instant) -> bool {
        let Suspicions { silent_since, demoted_at } = *self.suspicions();
        silent_since.is_none_or(|since| answered > since) && demoted_at.is_none_or(|at| opened > at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silence_condemns_those_that_have_not_answered_since() {
        let health = Health::default();
        let opened = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        let sent = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(health.trusts(opened, opened));
        health.note_silence(sent);
        assert!(!health.trusts(opened, opened), "it may be as dead");
        assert!(!health.trusts(opened, sent), "it answered before the silence began");
        assert!(health.trusts(opened, Instant::now()), "it has answered since");
        health.note_silence(opened);
        assert!(!health.trusts(opened, sent), "an older silence does not take the newer one's place");
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_only_server_condemns_all_that_were_open() {
        let health = Health::default();
        let opened = Instant::now();
        health.note_read_only();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!health.trusts(opened, Instant::now()), "it leads to the same server");
        assert!(health.trusts(Instant::now(), Instant::now()));
    }
}
