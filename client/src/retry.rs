//! The pauses between the attempts of a call.

use std::time::Duration;

use crate::{clock::LeaseInstant, error::LockError, random};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A refusal within this time means that the service turned the call away without letting it wait.
const TURNED_AWAY: Duration = Duration::from_secs(2);

/// A call that is repeated until a deadline.
pub(crate) struct Retry {
    begun: LeaseInstant,
    deadline: LeaseInstant,
    pause: Duration,
}

impl Retry {
    pub(crate) fn until(deadline: LeaseInstant) -> Self {
        Self { begun: LeaseInstant::now(), deadline, pause: FIRST_PAUSE }
    }

    /// Whether the service turned the first attempt away at once.
    pub(crate) fn is_turned_away(&self, error: &LockError) -> bool {
        matches!(error, LockError::Unavailable { .. })
            && self.pause == FIRST_PAUSE
            && LeaseInstant::now().since(self.begun) < TURNED_AWAY
    }

    /// Pauses before the next attempt. Returns false if the deadline has passed.
    pub(crate) async fn pause(&mut self) -> bool {
        let rest = self.deadline.remaining();
        if rest.is_zero() {
            return false;
        }
        tokio::time::sleep(random::jitter(self.pause).min(rest)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}
