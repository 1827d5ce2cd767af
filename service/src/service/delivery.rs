//! Grants on their way to their callers.

use crate::{domain::LockView, engine::RequestGuard};

/// A grant on its way to its caller.
///
/// Until [`Delivery::delivered`] is called, the grant counts as unseen. If this is dropped before, the grant is given
/// back at once. If the caller chose its version, the grant is kept for 10 s.
#[must_use = "a grant that is dropped is given back"]
pub struct Delivery {
    pub(super) view: LockView,
    pub(super) request_guard: RequestGuard,
}

impl Delivery {
    /// The grant.
    pub const fn view(&self) -> &LockView {
        &self.view
    }

    /// Records that the answer has reached the caller's socket: the grant is the caller's until its lease ends.
    pub fn delivered(self) {
        self.request_guard.delivered();
    }

    /// Gives the grant back at once, since its caller must not have it any more. A repeat of the request is no reason to keep it.
    pub fn withhold(self) {
        self.request_guard.withhold();
    }
}
