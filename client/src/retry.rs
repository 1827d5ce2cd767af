//! The pauses between the attempts of a call.

use std::time::Duration;

use crate::{clock::LeaseInstant, error::LockError, random};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A refusal within this time means that the service turned the call away without letting it wait.
const TURNED_AWAY_WITHIN: Duration = Duration::from_secs(2);
/// How long a call is repeated while a service restarts, for example for an upgrade.
const RESTART: Duration = Duration::from_secs(10);

/// A call that is repeated until a deadline.
pub(crate) struct Retry {
    deadline: LeaseInstant,
    pause: Duration,
    /// When the last attempt began.
    tried: LeaseInstant,
    repeats: Repeats,
}

/// How long a call is repeated that does not wait for an unavailable service.
#[derive(Debug, Clone, Copy)]
enum Repeats {
    /// Not at all if the service turns the first attempt away.
    Never,
    /// Until this instant: the service answered that it is shutting down, and may restart.
    Until(LeaseInstant),
    /// Until the deadline: the call has waited in the queue.
    ToTheDeadline,
}

impl Retry {
    pub(crate) fn until(deadline: LeaseInstant) -> Self {
        Self { deadline, pause: FIRST_PAUSE, tried: LeaseInstant::now(), repeats: Repeats::Never }
    }

    /// Whether a call that does not wait for an unavailable service ends with this error.
    pub(crate) fn is_turned_away(&mut self, error: &LockError) -> bool {
        let now = LeaseInstant::now();
        let is_refused = matches!(error, LockError::Unavailable { .. });
        self.repeats = match self.repeats {
            _ if now.since(self.tried) >= TURNED_AWAY_WITHIN => Repeats::ToTheDeadline,
            Repeats::Never if error.is_shutting_down() => Repeats::Until(now.plus(RESTART)),
            Repeats::Never if !is_refused => Repeats::ToTheDeadline,
            repeats => repeats,
        };
        match self.repeats {
            Repeats::Never => true,
            Repeats::Until(end) => end <= now,
            Repeats::ToTheDeadline => false,
        }
    }

    /// Pauses before the next attempt. Returns false if the deadline has passed.
    pub(crate) async fn pause(&mut self) -> bool {
        let rest = self.deadline.remaining();
        if rest.is_zero() {
            return false;
        }
        tokio::time::sleep(random::jitter(self.pause).min(rest)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.tried = LeaseInstant::now();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(detail: &str) -> LockError {
        LockError::Unavailable { detail: detail.to_owned(), retry_after: Duration::from_secs(1) }
    }

    fn retry() -> Retry {
        Retry::until(LeaseInstant::now().plus(Duration::from_mins(10)))
    }

    #[test]
    fn a_service_that_shuts_down_is_given_time_to_start_again() {
        let mut retry = retry();
        assert!(!retry.is_turned_away(&refused("The service is shutting down.")));
        assert!(!retry.is_turned_away(&LockError::Unreachable("refused".to_owned())));
        assert!(!retry.is_turned_away(&refused("The database is out of reach.")));
        retry.repeats = Repeats::Until(LeaseInstant::now());
        assert!(retry.is_turned_away(&LockError::Unreachable("refused".to_owned())));
    }

    #[test]
    fn a_call_that_waited_in_the_queue_is_never_turned_away() {
        let mut retry = retry();
        assert!(retry.is_turned_away(&refused("The service is overloaded.")));
        retry.tried = LeaseInstant::now().minus(TURNED_AWAY_WITHIN);
        assert!(!retry.is_turned_away(&refused("The service is overloaded.")));
        retry.tried = LeaseInstant::now();
        assert!(!retry.is_turned_away(&refused("The service is overloaded.")));
    }
}
