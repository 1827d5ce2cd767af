//! The pauses between the attempts of a call.

use std::time::Duration;

use crate::{clock::LeaseInstant, error::LockError, random};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A refusal within this time means that the service turned the call away without letting it wait.
const TURNED_AWAY: Duration = Duration::from_secs(2);
/// How long a service that is shutting down may take to be there again, as after an upgrade.
const RESTART: Duration = Duration::from_secs(10);

/// A call that is repeated until a deadline.
pub(crate) struct Retry {
    deadline: LeaseInstant,
    pause: Duration,
    /// When the last try began.
    tried: LeaseInstant,
    patience: Patience,
}

/// How long a call that nobody asked to wait for the service is tried.
#[derive(Debug, Clone, Copy)]
enum Patience {
    /// Not again if the service turns the first try away.
    None,
    /// Until the service should be there again: it said that it is shutting down.
    Until(LeaseInstant),
    /// As long as there is time: it has waited in line.
    All,
}

impl Retry {
    pub(crate) fn until(deadline: LeaseInstant) -> Self {
        Self { deadline, pause: FIRST_PAUSE, tried: LeaseInstant::now(), patience: Patience::None }
    }

    /// Whether a call that nobody asked to wait for the service ends with this answer: the service did not even let it wait.
    pub(crate) fn is_turned_away(&mut self, error: &LockError) -> bool {
        let now = LeaseInstant::now();
        let is_refused = matches!(error, LockError::Unavailable { .. });
        self.patience = match self.patience {
            _ if now.since(self.tried) >= TURNED_AWAY => Patience::All,
            Patience::None if error.is_shutting_down() => Patience::Until(now.plus(RESTART)),
            Patience::None if !is_refused => Patience::All,
            patience => patience,
        };
        match self.patience {
            Patience::None => true,
            Patience::Until(end) => end <= now,
            Patience::All => false,
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
        retry.patience = Patience::Until(LeaseInstant::now());
        assert!(retry.is_turned_away(&LockError::Unreachable("refused".to_owned())));
    }

    #[test]
    fn who_has_waited_in_line_is_never_turned_away() {
        let mut retry = retry();
        assert!(retry.is_turned_away(&refused("The service is overloaded.")));
        retry.tried = LeaseInstant::now().minus(TURNED_AWAY);
        assert!(!retry.is_turned_away(&refused("The service is overloaded.")));
        retry.tried = LeaseInstant::now();
        assert!(!retry.is_turned_away(&refused("The service is overloaded.")));
    }
}
