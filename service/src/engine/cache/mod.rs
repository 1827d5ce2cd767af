//! The states on which a shard can decide without a load: those that it wrote last, as long as such decisions mostly
//! win.

mod speculation;
mod states;

use tokio::time::Instant;

use self::{speculation::Assumption, states::States};
use crate::domain::{Epoch, KeyId, KeyState};

/// The state that a write was decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Basis {
    /// The state was loaded.
    Loaded,
    /// The state was cached.
    Cached,
    /// The key was assumed to have no row.
    AssumedAbsent,
}

/// The cached states of a shard's keys, and the success of decisions on them.
#[derive(Debug)]
pub(super) struct Cache {
    states: States,
    /// The epoch under which the states were loaded or written.
    epoch: Epoch,
    /// The assumption that a cached key is unchanged.
    unchanged: Assumption,
    /// The assumption that a key that is not cached has no row.
    absent: Assumption,
}

impl Cache {
    /// An empty cache of at most about `bytes`.
    pub(super) fn new(bytes: usize, now: Instant) -> Self {
        Self {
            states: States::new(bytes, now),
            epoch: Epoch::default(),
            unchanged: Assumption::default(),
            absent: Assumption::default(),
        }
    }

    /// Forgets all states of an earlier epoch. A state may be of two times, its row of an earlier one than its permits and
    /// waiters. As a rule a write on such a state loses its race, because the row has changed since. But after a
    /// failover that lost commits the row has its earlier version again.
    pub(super) fn follow(&mut self, epoch: Epoch) {
        if epoch != self.epoch {
            self.states.clear();
            self.epoch = epoch;
        }
    }

    /// Takes a state of the key to decide on without a load; `None` if a load probably costs less. The key is no longer
    /// cached afterwards.
    pub(super) fn speculate(&mut self, id: &KeyId) -> Option<(Box<KeyState>, Basis)> {
        match self.states.take(id) {
            Some(state) => self.unchanged.pays().then_some((state, Basis::Cached)),
            None => self.absent.pays().then(|| (KeyState::absent().into(), Basis::AssumedAbsent)),
        }
    }

    /// Notes whether a write won its race.
    pub(super) fn note(&mut self, basis: Basis, won: bool) {
        match basis {
            Basis::Loaded => {}
            Basis::Cached => self.unchanged.note(won),
            Basis::AssumedAbsent => self.absent.note(won),
        }
    }

    /// Forgets a key.
    pub(super) fn forget(&mut self, id: &KeyId) {
        self.states.take(id);
    }

    /// Whether the key is cached with a queue.
    pub(super) fn has_queue(&self, id: &KeyId) -> bool {
        self.states.has_queue(id)
    }

    /// The approximate bytes of the key's own row, and those that each command writes beside it, as far as they are known
    /// without a load.
    pub(super) fn bytes(&self, id: &KeyId) -> (usize, usize) {
        match self.states.get(id) {
            Some(state) => (state.row_bytes(), state.command_bytes()),
            None => (KeyState::ROW_BYTES, 0),
        }
    }

    /// Caches a state that was just written or loaded.
    pub(super) fn put(&mut self, id: KeyId, state: Box<KeyState>, now: Instant) {
        self.states.put(id, state, now);
    }

    /// Forgets the states that were not written for a while, if a generation ends now. Returns whether one ended.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let is_due = self.expires_at().is_some_and(|at| at <= now);
        if is_due {
            self.states.end_generation(now);
        }
        is_due
    }

    /// When [`Cache::expire`] has something to do; `None` while nothing is cached.
    pub(super) fn expires_at(&self) -> Option<Instant> {
        self.states.generation_ends_at()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Key, Tenant};

    /// Guards invariant 2: a grant that a failover lost does not come back with an old token.
    #[test]
    fn states_of_an_earlier_epoch_are_forgotten() {
        let now = Instant::now();
        let mut cache = Cache::new(1 << 20, now);
        let id = KeyId { tenant: Tenant::trusted("t"), key: Key::trusted("a") };
        let basis = |cache: &mut Cache| cache.speculate(&id).map(|(_, basis)| basis);
        cache.put(id.clone(), KeyState::absent().into(), now);
        cache.follow(Epoch::default());
        assert_eq!(basis(&mut cache), Some(Basis::Cached));
        cache.put(id.clone(), KeyState::absent().into(), now);
        cache.follow(Epoch::new(5).unwrap_or_default());
        assert_eq!(basis(&mut cache), Some(Basis::AssumedAbsent));
    }
}
