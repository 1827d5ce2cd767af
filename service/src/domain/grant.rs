//! One grant of a mutex or of a permit, standing or ended.

use super::{Now, Owner, RequestId, Timestamp, Token, Version};

/// How much longer than it was granted for a lease may seem to last before the database's clock is taken to have
/// stepped back, in milliseconds.
const STEP_TOLERANCE_MS: i64 = 2_000;

/// A grant: who holds, under which version and token, until when. It stays on record after it ended until the next
/// grant takes its place, so that late heartbeats and releases can be told what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The grant's identity.
    pub version: Version,
    /// Whether the caller chose the version, and so can come back with it.
    pub chosen: bool,
    /// The fencing token.
    pub token: Token,
    /// Who holds it.
    pub owner: Owner,
    /// For how long it was granted, or last renewed, in milliseconds.
    pub lease_ms: i64,
    /// When it was granted.
    pub acquired_at: Timestamp,
    /// When its lease ends, or ended by release.
    pub expires_at: Timestamp,
    /// Given back: ended for good, whatever the clock says.
    pub released: bool,
    /// A mutex's row goes when this grant ends.
    pub delete_on_release: bool,
    /// The request that alone has the grant, and whose clean-up may end it; [`RequestId::NONE`] once a second was
    /// answered with it, since either may rely on it then. [Kept](RequestId::is_kept) while its answer has reached nobody.
    pub request_id: RequestId,
}

impl Grant {
    /// Whether the lease stands when the database's clock shows `at`: neither released nor ended.
    pub const fn is_active_at(&self, at: Timestamp) -> bool {
        !self.released && self.expires_at.0 > at.0
    }

    /// Whether the lease may stand: nobody else is granted its place.
    pub const fn is_active(&self, now: Now) -> bool {
        self.is_active_at(now.at_least)
    }

    /// Whether the lease stands for certain: its grant can be answered to a caller.
    pub const fn is_surely_active(&self, now: Now) -> bool {
        self.is_active_at(now.at_most)
    }

    /// The grant is answered to a request. If it was another's before, it is nobody's alone from now on.
    pub fn answer_to(&mut self, attachment: RequestId) {
        if self.request_id != attachment {
            self.request_id = RequestId::NONE;
        }
    }

    /// The grant is answered to a repeat of its acquire. One that is kept, since nobody got its answer, is the repeat's alone;
    /// any other is [answered](Self::answer_to) a second time.
    pub fn repeat_to(&mut self, attachment: RequestId) {
        if self.request_id.is_kept() {
            self.request_id = attachment;
        } else {
            self.answer_to(attachment);
        }
    }

    /// Cuts a lease that would last longer than it was granted for: the database's clock has stepped back.
    /// Returns whether it did.
    pub const fn cut_after_step_back(&mut self, now: Now) -> bool {
        let latest = now.at_most.plus_ms(self.lease_ms);
        if self.released || self.expires_at.ms_since(latest) <= STEP_TOLERANCE_MS {
            return false;
        }
        self.expires_at = latest;
        true
    }
}
