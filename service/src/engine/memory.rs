//! What a replica remembers of the keys it wrote last.
//!
//! A decision on a remembered state costs no question to the database. A wrong memory is harmless: every write bears the
//! condition that the row is still the remembered one, and whoever loses loads and decides again. So memory may forget
//! whenever it likes, and it does: after seconds, and when it grows too large.

use std::time::Duration;

use tokio::time::Instant;

use rustc_hash::FxHashMap;

use crate::domain::{Body, KeyId, KeyState};

/// A state is forgotten at the latest after twice this time without a write. Tombstones outlive it by far.
const GENERATION: Duration = Duration::from_secs(5);

/// The longest front of a queue, and the most permits, that are remembered with a key.
const LONGEST_VIEW: usize = 256;

/// The longest view that is remembered; a shorter one in some simulations.
fn longest_view() -> usize {
    #[cfg(test)]
    return crate::simulation::hooks::view_size(LONGEST_VIEW);
    #[cfg(not(test))]
    LONGEST_VIEW
}

/// The states of keys, in two generations: what was not touched while a generation lasted is forgotten with it.
#[derive(Debug)]
pub(super) struct Memory {
    /// Written in this generation.
    young: FxHashMap<KeyId, KeyState>,
    /// Written in the last one.
    old: FxHashMap<KeyId, KeyState>,
    /// About how many bytes `young` has.
    young_bytes: usize,
    /// At how many bytes a generation ends early.
    generation_bytes: usize,
    /// When this generation began.
    since: Instant,
}

impl Memory {
    /// A memory of at most about `bytes`.
    pub(super) fn new(bytes: usize, now: Instant) -> Self {
        Self {
            young: FxHashMap::default(),
            old: FxHashMap::default(),
            young_bytes: 0,
            generation_bytes: bytes / 2,
            since: now,
        }
    }

    /// Takes a state out, to decide on it.
    pub(super) fn take(&mut self, id: &KeyId) -> Option<KeyState> {
        if let Some(state) = self.young.remove(id) {
            self.young_bytes = self.young_bytes.saturating_sub(weight(&state));
            return Some(state);
        }
        self.old.remove(id)
    }

    /// Whether a remembered key has a queue.
    pub(super) fn has_queue(&self, id: &KeyId) -> bool {
        self.young.get(id).or_else(|| self.old.get(id)).is_some_and(|state| state.queue.len > 0)
    }

    /// Remembers a state that was just written or loaded.
    pub(super) fn put(&mut self, id: KeyId, mut state: KeyState, now: Instant) {
        if let Body::Semaphore(semaphore) = &mut state.body {
            if semaphore.permits.slots > semaphore.max_size {
                // After a shrink the number of permits that are out has to be counted anew for every decision.
                return;
            }
            semaphore.permits.trim(longest_view());
        }
        state.queue.trim(longest_view());
        if self.young_bytes >= self.generation_bytes || now.duration_since(self.since) >= GENERATION {
            self.turn(now);
        }
        self.young_bytes += weight(&state);
        self.young.insert(id, state);
    }

    /// Ends the generation; without writes it is called by the clock, so that an idle replica holds nothing.
    pub(super) fn turn(&mut self, now: Instant) {
        self.old = std::mem::take(&mut self.young);
        self.young_bytes = 0;
        self.since = now;
    }

    /// When the generation should be ended if nothing is written: `None` while there is nothing to forget.
    pub(super) fn turns_at(&self) -> Option<Instant> {
        (!self.young.is_empty() || !self.old.is_empty()).then(|| self.since + GENERATION)
    }
}

/// About how many bytes a state takes, its place in the map included.
fn weight(state: &KeyState) -> usize {
    const WAITER_BYTES: usize = 256;
    const PERMIT_BYTES: usize = 256;
    let body = match &state.body {
        Body::Absent => 0,
        Body::Mutex(mutex) => mutex.data.as_ref().map_or(0, |data| data.as_str().len()),
        Body::Semaphore(semaphore) => semaphore.permits.known.len() * PERMIT_BYTES,
    };
    let ended = size_of_val(state.ended.as_slice());
    size_of::<(KeyId, KeyState)>() + 128 + body + ended + state.queue.head.len() * WAITER_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Key, Tenant};

    fn id(key: &str) -> KeyId {
        KeyId { tenant: Tenant::trusted("t"), key: Key::trusted(key) }
    }

    #[test]
    fn a_state_is_forgotten_after_two_generations_without_a_write() {
        let start = Instant::now();
        let mut memory = Memory::new(1 << 20, start);
        memory.put(id("a"), KeyState::absent(), start);
        memory.turn(start + GENERATION);
        assert!(memory.take(&id("a")).is_some());
        memory.put(id("a"), KeyState::absent(), start + GENERATION);
        memory.turn(start + GENERATION * 2);
        memory.turn(start + GENERATION * 3);
        assert!(memory.take(&id("a")).is_none());
    }

    #[test]
    fn memory_stays_within_its_bytes() {
        let start = Instant::now();
        let mut memory = Memory::new(64 << 10, start);
        for number in 0..10_000 {
            memory.put(id(&number.to_string()), KeyState::absent(), start);
        }
        let held = memory.young.len() + memory.old.len();
        assert!(held * weight(&KeyState::absent()) <= 66 << 10, "{held} states are held");
    }
}
