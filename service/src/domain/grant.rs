//! One grant of a mutex or of a permit, active or ended.

use super::{Now, Owner, RequestId, Timestamp, Token, Version};

/// The maximum time by which a lease may seem to last longer than it was granted for, in milliseconds. Beyond that the
/// database's clock has stepped back.
const STEP_TOLERANCE_MS: i64 = 2_000;

/// A grant: owner, version, token and lease. It stays on record after its end until the next grant replaces it, so that
/// late heartbeats and releases can be answered what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The identity of the grant.
    pub version: Version,
    /// Whether the caller chose the version, and so can repeat its request.
    pub chosen: bool,
    /// The fencing token.
    pub token: Token,
    /// The owner.
    pub owner: Owner,
    /// The lease that was granted or last renewed, in milliseconds.
    pub lease_ms: i64,
    /// When it was granted.
    pub acquired_at: Timestamp,
    /// When the lease ends, or when a release ended it.
    pub expires_at: Timestamp,
    /// Whether the grant was released or ended otherwise, so that it is over whatever the clock says.
    pub released: bool,
    /// Whether the mutex is deleted when this grant ends.
    pub delete_on_release: bool,
    /// The request that has the grant, and whose clean-up may end it, or [several](RequestId::is_of_several): then the
    /// grant ends when all of them have given it back. [`RequestId::NONE`] if it is not known who has it.
    /// [Kept](RequestId::is_kept) while the answer of its only request has reached nobody.
    pub request_id: RequestId,
}

impl Grant {
    /// Whether the lease is active when the database's clock shows `at`: neither released nor expired.
    pub const fn is_active_at(&self, at: Timestamp) -> bool {
        !self.released && self.expires_at.0 > at.0
    }

    /// Whether the lease may be active. If so, nobody else is granted its place.
    pub const fn is_active(&self, now: Now) -> bool {
        self.is_active_at(now.at_least)
    }

    /// Whether the lease is certainly active, so that its grant can be answered to a caller.
    pub const fn is_surely_active(&self, now: Now) -> bool {
        self.is_active_at(now.at_most)
    }

    /// Notes that the grant is answered to a request. If another request had it before, both have it from now on.
    pub fn answer_to(&mut self, attachment: RequestId) {
        if self.request_id != attachment {
            self.request_id = self.request_id.and(attachment);
        }
    }

    /// Notes that the grant is answered to a repeat of its acquire. A kept grant, whose answer reached nobody, then
    /// belongs to the repeat alone; any other is [answered](Self::answer_to) a second time.
    pub fn repeat_to(&mut self, attachment: RequestId) {
        if self.request_id.is_kept() {
            self.request_id = attachment;
        } else {
            self.answer_to(attachment);
        }
    }

    /// Forgets that the audit log has the end of the lease, since what ends the grant now changes more than the grant.
    pub fn forget_recorded_expiry(&mut self) {
        if self.request_id == RequestId::EXPIRY_RECORDED {
            self.request_id = RequestId::NONE;
        }
    }

    /// Cuts a lease that would last longer than it was granted for, because the database's clock has stepped back.
    /// Returns whether the lease was cut.
    pub const fn cut_after_step_back(&mut self, now: Now) -> bool {
        let latest = now.at_most.plus_ms(self.lease_ms);
        if self.released || self.expires_at.ms_since(latest) <= STEP_TOLERANCE_MS {
            return false;
        }
        self.expires_at = latest;
        true
    }
}
