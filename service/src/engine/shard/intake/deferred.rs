//! Acquires that can only join a queue, held back to share a commit.
//!
//! They join the next batch, behind its other acquires, and start a batch of their own only after
//! [`DEFER_ACQUIRES_FOR`]. A client that releases a busy lock mostly asks for the lock again at once. Without the pause
//! this acquire would keep the database busy when the next release arrives, and a hand-over would take two commits.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::lines::Lines;
use crate::{
    SeededSet,
    domain::{Command, KeyId},
    engine::pending_request::PendingRequest,
};

/// The maximum time that an acquire is deferred. The next holder needs less to receive its grant and release it, and
/// the deferred acquires are going to wait much longer anyway.
const DEFER_ACQUIRES_FOR: Duration = Duration::from_millis(5);

/// The minimum waiting time of an acquire that may be deferred, in milliseconds.
const SHORTEST_DEFERRED_WAIT_MS: i64 = 100;

/// Acquires that wait for a batch to join.
#[derive(Debug, Default)]
pub(super) struct DeferredAcquires {
    requests: VecDeque<PendingRequest>,
    /// The keys of the requests since the last [`DeferredAcquires::move_to`].
    keys: SeededSet<KeyId>,
    /// The end of the pause; `None` while nothing is deferred.
    until: Option<Instant>,
}

impl DeferredAcquires {
    /// Whether a command may be deferred: it is an acquire that is ready to wait.
    pub(super) fn accepts(request: &PendingRequest) -> bool {
        matches!(&request.command, Command::Acquire(acquire)
            if acquire.wait_ms.is_none_or(|wait_ms| wait_ms >= SHORTEST_DEFERRED_WAIT_MS))
    }

    /// Defers an acquire.
    pub(super) fn push(&mut self, request: PendingRequest) {
        self.until.get_or_insert_with(|| Instant::now() + DEFER_ACQUIRES_FOR);
        self.keys.insert(request.id.clone());
        self.requests.push_back(request);
    }

    /// Whether an acquire of this key is deferred. No other acquire of the key may overtake it.
    pub(super) fn contains(&self, id: &KeyId) -> bool {
        !self.keys.is_empty() && self.keys.contains(id)
    }

    /// Whether nothing is deferred.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The end of the pause; `None` while nothing is deferred.
    pub(super) const fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Moves the acquires to the ends of their lines.
    pub(super) fn move_to(&mut self, acquires: &mut Lines) {
        for request in self.requests.drain(..) {
            acquires.push_back(request);
        }
        self.keys.clear();
        self.until = None;
    }

    /// Removes the acquires for which `keep` returns false.
    pub(super) fn retain(&mut self, keep: impl FnMut(&mut PendingRequest) -> bool) {
        self.requests.retain_mut(keep);
    }
}
