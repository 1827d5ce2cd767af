//! Leaves: commands by which waiters leave their queues. Thousands may arrive at once, and no heartbeat waits behind
//! them.
//!
//! Leaves are kept by key. A batch takes a bounded number of them beside its other commands, from the tenants in turn.
//! The leaves of a busy key are checked again only when the key is free. So the time for one leave does not depend on
//! their number.

use std::collections::VecDeque;

use crate::{
    SeededMap,
    domain::{KeyId, Tenant},
    engine::pending_request::PendingRequest,
    turns::Turns,
};

/// The leaves of one key.
#[derive(Debug, Default)]
struct KeyLeaves {
    requests: VecDeque<PendingRequest>,
    /// Whether the key is in [`Leaves::ready`].
    is_ready: bool,
}

/// Leaves that wait for a batch. The keys of a tenant are served in the order in which they became ready.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    by_key: SeededMap<KeyId, KeyLeaves>,
    /// Keys with leaves that are not known to be busy.
    ready: Turns<Tenant, KeyId>,
}

impl Leaves {
    /// Adds a leave.
    pub(super) fn push(&mut self, request: PendingRequest) {
        let id = request.id.clone();
        self.by_key.entry(id.clone()).or_default().requests.push_back(request);
        self.note_free(&id);
    }

    /// Notes that a key is no longer busy.
    pub(super) fn note_free(&mut self, id: &KeyId) {
        if let Some(leaves) = self.by_key.get_mut(id)
            && !leaves.is_ready
        {
            leaves.is_ready = true;
            self.ready.push_back(&id.tenant, id.clone());
        }
    }

    /// The number of keys with leaves that are not known to be busy, without those of tenants that are held back.
    pub(super) fn ready_keys(&self, is_held: impl Fn(&Tenant) -> bool) -> usize {
        self.ready.len_unless(is_held)
    }

    /// Whether there are no leaves.
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Removes and returns at most `most` leaves of the next key that is not busy and whose tenant is not held back;
    /// `None` if there is no such key. A busy key is skipped until [`Leaves::note_free`] is called for it.
    pub(super) fn next_key(
        &mut self,
        most: usize,
        is_held: impl Fn(&Tenant) -> bool,
        is_busy: impl Fn(&KeyId) -> bool,
    ) -> Option<Vec<PendingRequest>> {
        while let Some(id) = self.ready.pop_unless(&is_held) {
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
            return Some(taken);
        }
        None
    }

    /// Removes the leaves for which `keep` returns false.
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
        domain::{Command, Key, LeaveReason, RequestFlags},
        engine::ids,
    };

    fn leave(key: &str) -> PendingRequest {
        leave_of("t", key)
    }

    fn leave_of(tenant: &str, key: &str) -> PendingRequest {
        let id = KeyId { tenant: Tenant::trusted(tenant), key: Key::trusted(key) };
        let (version, request_id) = (ids::version(), ids::request_id(RequestFlags::default()));
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
        assert_eq!(leaves.next_key(10, |_| false, is_busy).map(|taken| taken.len()), Some(1));
        assert!(leaves.next_key(10, |_| false, |_| panic!("no key is ready")).is_none());
        let busy = leave("busy").id;
        leaves.note_free(&busy);
        assert_eq!(leaves.next_key(2, |_| false, |_| false).map(|taken| taken.len()), Some(2));
        leaves.note_free(&busy);
        assert_eq!(leaves.next_key(2, |_| false, |_| false).map(|taken| taken.len()), Some(1));
        assert!(leaves.is_empty() && leaves.ready_keys(|_| false) == 0);
    }

    #[tokio::test]
    async fn tenants_take_turns() {
        let mut leaves = Leaves::default();
        for (tenant, key) in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1")] {
            leaves.push(leave_of(tenant, key));
        }
        let keys = std::iter::from_fn(|| leaves.next_key(10, |_| false, |_| false));
        let keys: Vec<_> = keys.map(|taken| (taken[0].id.tenant.clone(), taken[0].id.key.clone())).collect();
        let expected = [("a", "1"), ("b", "1"), ("a", "2"), ("a", "3")];
        assert_eq!(keys, expected.map(|(tenant, key)| (Tenant::trusted(tenant), Key::trusted(key))));
        assert!(leaves.is_empty() && leaves.ready_keys(|_| false) == 0);
    }
}
