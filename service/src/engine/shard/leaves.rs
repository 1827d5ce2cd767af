//! Waiters that want to leave their queues: thousands may at once, and nobody's heartbeat waits behind them.
//!
//! They are kept by key. A batch takes a bounded number of them beside its other commands, and those of a busy key are not
//! looked at before the key is free again: so the work for each is the same, however many there are.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::super::pending_request::PendingRequest;
use crate::domain::KeyId;

/// The leaves of one key.
#[derive(Debug, Default)]
struct KeyLeaves {
    requests: VecDeque<PendingRequest>,
    /// Whether the key stands in [`Leaves::ready`].
    is_ready: bool,
}

/// Leaves that wait for a batch, first come, first served among the keys.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    by_key: FxHashMap<KeyId, KeyLeaves>,
    /// Keys that are not busy, as far as is known.
    ready: VecDeque<KeyId>,
}

impl Leaves {
    /// Adds a leave.
    pub(super) fn push(&mut self, request: PendingRequest) {
        let id = request.id.clone();
        self.by_key.entry(id.clone()).or_default().requests.push_back(request);
        self.note_free(&id);
    }

    /// The key is not busy any more.
    pub(super) fn note_free(&mut self, id: &KeyId) {
        if let Some(leaves) = self.by_key.get_mut(id)
            && !leaves.is_ready
        {
            leaves.is_ready = true;
            self.ready.push_back(id.clone());
        }
    }

    /// Whether there are any that a batch could take.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// At most `most` leaves of the next key that is not busy; `None` where there is none. A busy key is looked at again
    /// after [`Leaves::note_free`].
    pub(super) fn next_key(
        &mut self,
        most: usize,
        is_busy: impl Fn(&KeyId) -> bool,
    ) -> Option<(KeyId, Vec<PendingRequest>)> {
        while let Some(id) = self.ready.pop_front() {
            let Some(leaves) = self.by_key.get_mut(&id) else { continue };
            leaves.is_ready = false;
            if is_busy(&id) {
                continue;
            }
            let count = leaves.requests.len().min(most);
            let taken: Vec<_> = leaves.requests.drain(..count).collect();
            if leaves.requests.is_empty() {
                self.by_key.remove(&id);
            }
            return Some((id, taken));
        }
        None
    }

    /// Keeps those that `keep` wants kept.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut PendingRequest) -> bool) {
        self.by_key.retain(|_, leaves| {
            leaves.requests.retain_mut(&mut keep);
            !leaves.requests.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{
        domain::{Command, Key, LeaveReason, Tenant},
        engine::ids,
    };

    fn leave(key: &str) -> PendingRequest {
        let id = KeyId { tenant: Tenant::trusted("t"), key: Key::trusted(key) };
        let (version, request_id) = (ids::version(), ids::request_id(false));
        let command = Command::Leave { version, request_id, reason: LeaveReason::HungUp };
        PendingRequest::internal(id, command, Instant::now())
    }

    #[tokio::test]
    async fn leaves_of_a_busy_key_are_looked_at_once_and_then_when_it_is_free() {
        let mut leaves = Leaves::default();
        for _ in 0..3 {
            leaves.push(leave("busy"));
        }
        leaves.push(leave("free"));
        let is_busy = |id: &KeyId| id.key.as_str() == "busy";
        assert_eq!(leaves.next_key(10, is_busy).map(|(_, taken)| taken.len()), Some(1));
        assert!(leaves.next_key(10, |_| panic!("no key is ready")).is_none());
        let busy = leave("busy").id;
        leaves.note_free(&busy);
        assert_eq!(leaves.next_key(2, |_| false).map(|(_, taken)| taken.len()), Some(2));
        leaves.note_free(&busy);
        assert_eq!(leaves.next_key(2, |_| false).map(|(_, taken)| taken.len()), Some(1));
        assert!(leaves.is_empty() && !leaves.is_ready());
    }
}
