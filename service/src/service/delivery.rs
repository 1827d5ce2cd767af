//! Grants on their way to their callers.

use crate::{domain::LockView, engine::RequestGuard};

/// A grant on its way to its caller.
///
/// Until [`Delivery::delivered`] is called the grant counts as unseen: dropped before, it is given back at once, or kept
/// for 10 s for a caller that chose its version.
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

    /// The answer has reached the caller's socket: the grant is the caller's until its lease ends.
    pub fn delivered(self) {
        self.request_guard.delivered();
    }
}
