//! Concludes from failures of some connections which others must not be used.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

/// Failures on the way to the database, shared by all pools of a store.
#[derive(Debug, Default)]
pub(super) struct Health {
    suspicions: Mutex<Suspicions>,
    /// Wakes the task that watches several servers.
    check: Notify,
    /// Changes when the open connections are condemned: they must not be used any more.
    condemned: watch::Sender<()>,
    /// Changes when another server was chosen: nobody need wait for calls that are under way on the former one.
    server_changed: watch::Sender<()>,
}

/// The times that decide which connections must not be used any more.
#[derive(Debug, Clone, Copy, Default)]
struct Suspicions {
    /// Send time of the latest statement that was never answered. A connection that has not answered since may be dead,
    /// too.
    silent_since: Option<Instant>,
    /// Last time at which a server said that it takes no writes, or another server was chosen. A connection opened
    /// before may lead to a demoted primary.
    demoted_at: Option<Instant>,
}

impl Health {
    fn suspicions(&self) -> MutexGuard<'_, Suspicions> {
        // A panic elsewhere leaves no value half written: each of the two instants is replaced at once.
        self.suspicions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a statement sent at `sent` was not answered, or that its connection broke.
    pub(super) fn note_silence(&self, sent: Instant) {
        let mut suspicions = self.suspicions();
        suspicions.silent_since = suspicions.silent_since.max(Some(sent));
        drop(suspicions);
        self.request_check();
    }

    /// Condemns all open connections: their server takes no writes now, or its epoch was raised.
    pub(super) fn condemn_connections(&self) {
        self.condemn_open();
        self.request_check();
    }

    /// Condemns all open connections and the calls on them: another server was chosen, or none.
    pub(super) fn abandon_server(&self) {
        self.condemn_open();
        self.server_changed.send_replace(());
    }

    fn condemn_open(&self) {
        self.suspicions().demoted_at = Some(Instant::now());
        self.condemned.send_replace(());
    }

    /// Wakes the task that watches several servers: there is reason to ask them for their state.
    pub(super) fn request_check(&self) {
        self.check.notify_one();
    }

    /// Waits for [`Self::request_check`]. A call that came earlier is not lost.
    pub(super) async fn check_requested(&self) {
        self.check.notified().await;
    }

    /// A receiver that changes when the open connections are condemned.
    pub(super) fn condemned(&self) -> watch::Receiver<()> {
        self.condemned.subscribe()
    }

    /// A receiver that changes when another server is chosen.
    pub(super) fn server_changed(&self) -> watch::Receiver<()> {
        self.server_changed.subscribe()
    }

    /// Whether a connection may be used, given when it was opened and when it last answered.
    pub(super) fn trusts(&self, opened: Instant, answered: Instant) -> bool {
        let silent_since = self.suspicions().silent_since;
        silent_since.is_none_or(|since| answered > since) && !self.is_condemned(opened)
    }

    /// Whether a connection opened at this time must not be used any more: it may lead to a demoted primary.
    pub(super) fn is_condemned(&self, opened: Instant) -> bool {
        self.suspicions().demoted_at.is_some_and(|at| opened <= at)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silence_condemns_connections_that_have_not_answered_since() {
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
        health.condemn_connections();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!health.trusts(opened, Instant::now()), "it leads to the same server");
        assert!(health.trusts(Instant::now(), Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn another_server_condemns_the_open_connections_and_the_calls_on_them() {
        let health = Health::default();
        let opened = Instant::now();
        let (condemned, server_changed) = (health.condemned(), health.server_changed());
        health.condemn_connections();
        assert!(
            condemned.has_changed().unwrap() && !server_changed.has_changed().unwrap(),
            "it still answers"
        );
        health.abandon_server();
        assert!(server_changed.has_changed().unwrap());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!health.trusts(opened, Instant::now()) && health.is_condemned(opened));
        assert!(!health.is_condemned(Instant::now()));
    }

    #[tokio::test]
    async fn a_suspicion_before_the_wait_is_not_lost() {
        let health = Health::default();
        health.note_silence(Instant::now());
        health.check_requested().await;
    }
}
