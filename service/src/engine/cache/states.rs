//! The states of the keys that a shard wrote last.
//!
//! A decision on a cached state costs no query. A stale state is harmless: a write is applied only if the row still has
//! the version that the write was decided on; otherwise the key is loaded and decided again. So states are dropped
//! freely: some seconds after their last write, and when they take too much memory.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    SeededMap,
    domain::{Body, KeyId, KeyState},
};

/// The length of a generation. A state is dropped at the latest after twice this time without a write. Tombstones are
/// kept much longer.
const GENERATION: Duration = Duration::from_secs(5);

/// The maximum number of waiters, and of permits, that are cached with a key.
const LONGEST_VIEW: usize = 256;

/// The maximum size of the data of waiters that is cached with a key, in bytes. Otherwise two keys with long queues would push
/// out all others.
const MOST_QUEUED_BYTES: usize = 64 << 10;

/// The maximum size of a cached view; smaller in some simulations.
fn longest_view() -> usize {
    #[cfg(test)]
    return crate::simulation::hooks::view_size(LONGEST_VIEW);
    #[cfg(not(test))]
    LONGEST_VIEW
}

/// The states of keys in two generations. A state that is not written during a generation is dropped at its end.
#[derive(Debug)]
pub(super) struct States {
    /// States that were written in this generation.
    young: SeededMap<KeyId, Box<KeyState>>,
    /// States that were written in the generation before.
    old: SeededMap<KeyId, Box<KeyState>>,
    /// The approximate size of `young` in bytes.
    young_bytes: usize,
    /// The size in bytes at which a generation ends early.
    generation_bytes: usize,
    /// When this generation began.
    since: Instant,
}

impl States {
    /// Starts without states, with a limit of about `bytes`.
    pub(super) fn new(bytes: usize, now: Instant) -> Self {
        Self {
            young: SeededMap::default(),
            old: SeededMap::default(),
            young_bytes: 0,
            generation_bytes: bytes / 2,
            since: now,
        }
    }

    /// Removes and returns a state.
    pub(super) fn take(&mut self, id: &KeyId) -> Option<Box<KeyState>> {
        if let Some(state) = self.young.remove(id) {
            self.young_bytes = self.young_bytes.saturating_sub(weight(&state));
            return Some(state);
        }
        self.old.remove(id)
    }

    /// A state.
    pub(super) fn get(&self, id: &KeyId) -> Option<&KeyState> {
        self.young.get(id).or_else(|| self.old.get(id)).map(AsRef::as_ref)
    }

    /// Whether a key is cached with a queue.
    pub(super) fn has_queue(&self, id: &KeyId) -> bool {
        self.get(id).is_some_and(|state| state.queue.len > 0)
    }

    /// Adds a state that was just written or loaded.
    pub(super) fn put(&mut self, id: KeyId, mut state: Box<KeyState>, now: Instant) {
        if let Body::Semaphore(semaphore) = &mut state.body {
            // The view of a guarded semaphore must have all permits, so it is not cached.
            // After a shrink each decision has to count the active permits, but a deletion has done so.
            let has_to_count =
                semaphore.permits.slots > semaphore.max_size && semaphore.permits.deletion.is_none();
            if semaphore.guarded || has_to_count {
                return;
            }
            semaphore.permits.trim(longest_view());
        }
        state.queue.trim(longest_view());
        state.queue.trim_data(MOST_QUEUED_BYTES);
        if self.young_bytes >= self.generation_bytes || now >= self.since + GENERATION {
            self.end_generation(now);
        }
        self.young_bytes += weight(&state);
        self.young.insert(id, state);
    }

    /// Removes all states.
    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.young_bytes = 0;
    }

    /// Ends the generation. A timer calls this too, so that an idle replica keeps nothing.
    pub(super) fn end_generation(&mut self, now: Instant) {
        self.old = std::mem::take(&mut self.young);
        self.young_bytes = 0;
        self.since = now;
    }

    /// When the generation ends if nothing is written; `None` while there are no states.
    pub(super) fn generation_ends_at(&self) -> Option<Instant> {
        (!self.young.is_empty() || !self.old.is_empty()).then(|| self.since + GENERATION)
    }
}

/// The approximate size of a state in bytes, including its entry in the map.
fn weight(state: &KeyState) -> usize {
    size_of::<KeyId>() + 128 + state.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        Data, FutureHolder, Key, Owner, Place, ReplicaId, RequestId, Tenant, Version, Waiter, WaiterData,
    };

    fn id(key: &str) -> KeyId {
        KeyId { tenant: Tenant::trusted("t"), key: Key::trusted(key) }
    }

    #[test]
    fn a_state_is_forgotten_after_two_generations_without_a_write() {
        let start = Instant::now();
        let mut states = States::new(1 << 20, start);
        states.put(id("a"), KeyState::absent().into(), start);
        states.end_generation(start + GENERATION);
        assert!(states.take(&id("a")).is_some());
        states.put(id("a"), KeyState::absent().into(), start + GENERATION);
        states.end_generation(start + GENERATION * 2);
        states.end_generation(start + GENERATION * 3);
        assert!(states.take(&id("a")).is_none());
    }

    /// Each decision on a key that was pushed out has to load it.
    #[test]
    fn a_key_whose_waiters_have_much_data_pushes_out_few_others() {
        let start = Instant::now();
        let mut states = States::new(32 << 20, start);
        let waiter = |seq: u128, place| {
            let holder = FutureHolder {
                version: Version(uuid::Uuid::from_u128(seq)),
                chosen: true,
                owner: Owner::trusted("o"),
                lease_ms: 1_000,
                replace_data: false,
                delete_on_release: false,
            };
            let data = WaiterData::Read(Some(Data::trusted(&"x".repeat(32 << 10))));
            Waiter { seq: i64::try_from(seq).unwrap_or_default(), holder, data, place }
        };
        let (replica, request_id) = (ReplicaId(uuid::Uuid::nil()), RequestId(1));
        let attached = Place::Attached { replica, request_id, offered_until: None };
        let mut state = KeyState::absent();
        for seq in 0..200 {
            state.queue.push(waiter(seq, attached));
        }
        states.put(id("a"), state.into(), start);
        let cached = states.take(&id("a")).expect("it is cached");
        assert!(cached.queue.is_complete() && cached.bytes() < 160 << 10, "{}", cached.bytes());
        let first = cached.queue.head.iter().take_while(|waiter| waiter.data.read_bytes() > 0);
        assert_eq!(first.count(), 2, "the data of those who are served next");
    }

    #[test]
    fn the_cache_stays_within_its_bytes() {
        let start = Instant::now();
        let mut states = States::new(64 << 10, start);
        for number in 0..10_000 {
            states.put(id(&number.to_string()), KeyState::absent().into(), start);
        }
        let held = states.young.len() + states.old.len();
        assert!(held * weight(&KeyState::absent()) <= 66 << 10, "{held} states are held");
    }
}
