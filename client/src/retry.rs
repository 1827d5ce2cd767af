//! The pauses between two tries of a call.

use std::time::Duration;

use crate::{clock::LeaseInstant, random};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A call that is tried until a deadline.
pub(crate) struct Retry {
    deadline: LeaseInstant,
    pause: Duration,
}

impl Retry {
    pub(crate) fn until(deadline: LeaseInstant) -> Self {
        Self { deadline, pause: FIRST_PAUSE }
    }

    /// Pauses before the next try; false if the time is over.
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
