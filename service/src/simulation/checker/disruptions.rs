//! Disruptions: the database lost its last commits, or an operator raised the epoch. Earlier answers may not be true
//! any more, but earlier grants still count: their tokens are never seen again.

use super::{Checker, KeyChecks, Recorded, facts::Facts, grants_of};
use crate::domain::{Body, KeyId, KeyState};

impl Checker {
    /// Records that keys have these states now, and that commits since `lost_from` may be lost.
    pub(in super::super) fn disrupted(
        &mut self,
        at: i64,
        clock: i64,
        lost_from: i64,
        states: Vec<(KeyId, KeyState)>,
    ) {
        let from = self.moment(at);
        self.last_disruption = Some(from);
        for (id, state) in states {
            let key = self.key(&id);
            key.restore(at, lost_from, &state);
            key.states.push(Recorded { from, state });
            key.tick(clock);
        }
    }
}

impl KeyChecks {
    /// Forgets lost grants, except for their tokens.
    fn restore(&mut self, at: i64, lost_from: i64, state: &KeyState) {
        self.transactions.clear();
        self.guarded_until = Some(at);
        self.replaced_data.clear();
        if matches!(state.body, Body::Semaphore(_)) {
            self.places_when_granted = usize::MAX;
        }
        self.waited.extend(state.queue.head.iter().map(|waiter| waiter.holder.version));
        let restored = grants_of(state);
        let stays = |version| restored.iter().any(|grant| grant.version == version);
        for (version, facts) in &mut self.grants {
            facts.promises.clear();
            if facts.granted_at >= lost_from && !stays(*version) {
                self.lost.insert(*version);
            }
        }
        self.grants.retain(|version, _| !self.lost.contains(version));
        for grant in restored {
            let facts = self.grants.entry(grant.version).or_insert_with(|| Facts::of(grant, 0, at));
            facts.token = grant.token.0;
            (facts.expires_at, facts.ran_out) = (grant.expires_at.0, false);
            (facts.closed, facts.current, facts.restored) = (grant.released, true, true);
            facts.ends.push(grant.expires_at.0);
        }
    }
}
