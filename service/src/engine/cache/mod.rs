//! The states on which a shard can decide without a load: those that it wrote last, as long as such decisions mostly
//! win.

mod speculation;
mod states;

use tokio::time::Instant;

use self::{speculation::Speculation, states::States};
use crate::domain::{KeyId, KeyState};

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
    speculation: Speculation,
}

impl Cache {
    /// An empty cache of at most about `bytes`.
    pub(super) fn new(bytes: usize, now: Instant) -> Self {
        Self { states: States::new(bytes, now), speculation: Speculation::default() }
    }

    /// Takes a state of the key to decide on without a load; `None` if a load probably costs less. The key is no longer
    /// cached afterwards.
    pub(super) fn speculate(&mut self, id: &KeyId) -> Option<(Box<KeyState>, Basis)> {
        match self.states.take(id) {
            Some(state) => self.speculation.trusts_cached().then_some((state, Basis::Cached)),
            None => {
                self.speculation.assumes_absent().then(|| (KeyState::absent().into(), Basis::AssumedAbsent))
            }
        }
    }

    /// Notes whether a write won its race.
    pub(super) fn note(&mut self, basis: Basis, won: bool) {
        match basis {
            Basis::Loaded => {}
            Basis::Cached => self.speculation.note_cached(won),
            Basis::AssumedAbsent => self.speculation.note_absent(won),
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
