//! What one connection's failure says about the others.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

/// What is known about the way to the database, shared by all pools of a store.
#[derive(Debug, Default)]
pub(super) struct Health {
    suspicions: Mutex<Suspicions>,
    /// Wakes the task that watches several servers.
    suspected: Notify,
    /// Changes when connections that are open must not be used any more.
    left: watch::Sender<()>,
    /// Changes when another server was chosen: what is under way on the former one need not be waited for.
    moved: watch::Sender<()>,
}

/// Which connections must not be used any more.
#[derive(Debug, Clone, Copy, Default)]
struct Suspicions {
    /// A statement sent at this moment was never answered: a connection that has not answered since then may be as dead.
    silent_since: Option<Instant>,
    /// A server said at this moment that it takes no writes, or another one was chosen: a connection opened before may lead to
    /// a demoted primary.
    demoted_at: Option<Instant>,
}

impl Health {
    fn suspicions(&self) -> MutexGuard<'_, Suspicions> {
        // Two instants, each replaced at once: a panic elsewhere leaves nothing half done.
        self.suspicions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A statement sent at `sent` was not answered, or its connection broke.
    pub(super) fn note_silence(&self, sent: Instant) {
        let mut suspicions = self.suspicions();
        suspicions.silent_since = suspicions.silent_since.max(Some(sent));
        drop(suspicions);
        self.suspect();
    }

    /// What is open may lead to a server that is not to be written to: it takes no writes now, or its epoch was raised.
    pub(super) fn distrust_server(&self) {
        self.leave();
        self.suspect();
    }

    /// Another server was chosen, or none: all that is open leads to the former one.
    pub(super) fn leave_all(&self) {
        self.leave();
        self.moved.send_replace(());
    }

    fn leave(&self) {
        self.suspicions().demoted_at = Some(Instant::now());
        self.left.send_replace(());
    }

    /// There is cause to ask the servers what they are.
    pub(super) fn suspect(&self) {
        self.suspected.notify_one();
    }

    /// Waits for such a cause. One that nobody waited for is not lost.
    pub(super) async fn suspected(&self) {
        self.suspected.notified().await;
    }

    /// Changes from now on when connections that are open must not be used any more.
    pub(super) fn left(&self) -> watch::Receiver<()> {
        self.left.subscribe()
    }

    /// Changes from now on when another server is chosen.
    pub(super) fn moved(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    /// Whether a connection may be used that was opened and last answered at these moments.
    pub(super) fn trusts(&self, opened: Instant, answered: Instant) -> bool {
        let silent_since = self.suspicions().silent_since;
        silent_since.is_none_or(|since| answered > since) && !self.has_left(opened)
    }

    /// Whether a connection opened at this moment may lead to a demoted primary.
    pub(super) fn has_left(&self, opened: Instant) -> bool {
        self.suspicions().demoted_at.is_some_and(|at| opened <= at)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
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
        health.distrust_server();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!health.trusts(opened, Instant::now()), "it leads to the same server");
        assert!(health.trusts(Instant::now(), Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn connections_to_a_server_that_is_left_are_left_and_so_is_what_is_under_way() {
        let health = Health::default();
        let opened = Instant::now();
        let (left, moved) = (health.left(), health.moved());
        health.distrust_server();
        assert!(left.has_changed().unwrap() && !moved.has_changed().unwrap(), "it still answers");
        health.leave_all();
        assert!(moved.has_changed().unwrap());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!health.trusts(opened, Instant::now()) && health.has_left(opened));
        assert!(!health.has_left(Instant::now()));
    }

    #[tokio::test]
    async fn a_cause_for_suspicion_is_not_lost() {
        let health = Health::default();
        health.note_silence(Instant::now());
        health.suspected().await;
    }
}
