//! Logs outages of the database: each cause once, and the end of the outage.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{store::StoreError, unavailable::Unavailable};

/// The minimum time between two log lines, and between the last line and the next outage that is logged.
const PAUSE: Duration = Duration::from_secs(1);

/// The current outage, or the last one.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Whether there is an outage. Checked at every answer of the database.
    is_ongoing: AtomicBool,
    /// The lock is held only to compare and to log.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the current outage began.
    since: Option<Instant>,
    /// The last cause that was logged, and when.
    logged: Option<(Instant, String)>,
    /// Whether the current outage was logged.
    is_logged: bool,
    /// The error for callers while the outage lasts; `None` is the general one.
    reason: Option<Unavailable>,
}

impl Outage {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the database failed. Each cause is logged once per outage, and at most one per second; the store
    /// counts every error.
    pub(super) fn note(&self, error: &StoreError) {
        // An overloaded database is up: this service asks too much of it.
        if matches!(error, StoreError::Overloaded(_)) {
            return;
        }
        let mut state = self.state();
        let now = Instant::now();
        state.since.get_or_insert(now);
        state.reason = match error {
            StoreError::ReadOnly(_) | StoreError::SeveralWritable(_) | StoreError::DiskFull(_) => {
                Some(error.into())
            }
            _ => None,
        };
        self.is_ongoing.store(true, Ordering::Relaxed);
        let cause = cause_of(error);
        let is_due = state.logged.as_ref().is_none_or(|(at, logged)| {
            now.duration_since(*at) >= PAUSE && (!state.is_logged || *logged != cause)
        });
        if is_due {
            state.logged = Some((now, cause));
            state.is_logged = true;
            tracing::warn!(
                error = error as &dyn std::error::Error,
                kind = error.kind(),
                "the database does not answer as it should"
            );
        }
    }

    /// Whether there is an outage.
    pub(super) fn is_ongoing(&self) -> bool {
        self.is_ongoing.load(Ordering::Relaxed)
    }

    /// Notes that the database accepts writes.
    pub(super) fn end_if_any(&self) {
        if self.is_ongoing() {
            self.end();
        }
    }

    #[cold]
    fn end(&self) {
        let mut state = self.state();
        self.is_ongoing.store(false, Ordering::Relaxed);
        let since = state.since.take();
        state.reason = None;
        if let Some(since) = since
            && std::mem::take(&mut state.is_logged)
        {
            let seconds = since.elapsed().as_secs_f64();
            tracing::info!(seconds, "the database is back after {seconds:.1} s");
        }
    }

    /// The error for callers whose command was not carried out in time.
    pub(super) fn reason(&self) -> Unavailable {
        self.state().reason.unwrap_or(Unavailable::DatabaseOutOfReach)
    }
}

/// The text of an error with its causes. Errors with the same text have the same cause.
fn cause_of(error: &StoreError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(outage: &Outage) -> Option<Instant> {
        outage.state().logged.as_ref().map(|(at, _)| *at)
    }

    #[tokio::test(start_paused = true)]
    async fn a_cause_is_logged_once_an_outage_and_another_one_after_a_second() {
        let outage = Outage::default();
        let began = Instant::now();
        let away = || StoreError::Unreachable("refused".into());
        outage.note(&away());
        assert_eq!(logged(&outage), Some(began));
        tokio::time::advance(Duration::from_secs(5)).await;
        outage.note(&away());
        assert_eq!(logged(&outage), Some(began), "the same once more");
        outage.note(&StoreError::ReadOnly("standby".into()));
        assert_eq!(logged(&outage), Some(Instant::now()), "another cause");
        outage.note(&away());
        assert_eq!(logged(&outage), Some(Instant::now()));
        outage.end_if_any();
        assert_eq!(outage.state().since, None);
        tokio::time::advance(PAUSE).await;
        outage.note(&away());
        assert_eq!(logged(&outage), Some(Instant::now()), "the next outage");
    }

    #[test]
    fn callers_learn_the_cause_while_the_outage_lasts() {
        let outage = Outage::default();
        assert_eq!(outage.reason(), Unavailable::DatabaseOutOfReach);
        outage.note(&StoreError::ReadOnly("standby".into()));
        assert_eq!(outage.reason(), Unavailable::DatabaseReadOnly);
        outage.end_if_any();
        assert_eq!(outage.reason(), Unavailable::DatabaseOutOfReach);
    }
}
