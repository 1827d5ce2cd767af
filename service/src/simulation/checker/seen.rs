//! The states of a key that a request could see while it was under way.

use super::{grants_of, key::ending, places_of};
use crate::domain::{Body, Grant, KeyState, Kind, Place, Version};

/// A state that was current during a request, and the possible times of the clock then.
pub(super) struct Seen<'s> {
    pub(super) state: &'s KeyState,
    pub(super) least: i64,
    pub(super) most: i64,
    /// The lower bound of the clock when the request was sent.
    pub(super) earliest: i64,
}

impl Seen<'_> {
    pub(super) fn grant(&self, version: Version) -> Option<&Grant> {
        grants_of(self.state).into_iter().find(|grant| grant.version == version)
    }

    /// The possible number of holders. A grant that was decided since the request counts, even if its lease had ended
    /// when it was written: later decisions of the same write met it.
    pub(super) fn held(&self) -> usize {
        let may_hold = |grant: &&Grant| {
            !grant.released && (grant.expires_at.0 > self.least || grant.acquired_at.0 >= self.earliest)
        };
        grants_of(self.state).into_iter().filter(may_hold).count() + ending(self.state)
    }

    /// Whether all places can have been taken.
    pub(super) fn is_full(&self) -> bool {
        self.held() >= places_of(self.state)
    }

    pub(super) fn somebody_waits(&self) -> bool {
        self.state.queue.head.iter().any(|waiter| matches!(waiter.place, Place::Attached { .. }))
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        match self.state.body {
            Body::Absent => None,
            Body::Mutex(_) => Some(Kind::Mutex),
            Body::Semaphore(_) => Some(Kind::Semaphore),
        }
    }
}

/// Whether a condition was true at some moment.
pub(super) fn check(
    seen: &[Seen<'_>],
    fits: impl Fn(&Seen<'_>) -> bool,
    otherwise: &str,
) -> Result<(), String> {
    if seen.iter().any(fits) { Ok(()) } else { Err(otherwise.to_owned()) }
}
