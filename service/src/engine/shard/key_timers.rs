//! The timers of the keys of a shard: the next time at which a queue may have to be served.

use tokio::time::Instant;

use crate::{SeededMap, domain::KeyId, engine::timers::Timers};

/// At most one timer for each key.
#[derive(Debug, Default)]
pub(super) struct KeyTimers {
    timers: Timers<KeyId>,
    /// The time and number of each key's timer.
    by_key: SeededMap<KeyId, (Instant, u64)>,
}

impl KeyTimers {
    /// Whether the key has a timer.
    pub(super) fn contains(&self, id: &KeyId) -> bool {
        !self.by_key.is_empty() && self.by_key.contains_key(id)
    }

    /// Replaces the timer of a key; `None` removes it.
    pub(super) fn set(&mut self, id: &KeyId, at: Option<Instant>) {
        match self.by_key.get_mut(id) {
            Some((set, _)) if at == Some(*set) => return,
            Some((_, number)) => self.timers.stop(*number),
            None => {}
        }
        match at {
            Some(at) => {
                let number = self.timers.set(at, id.clone());
                self.by_key.insert(id.clone(), (at, number));
            }
            None => {
                self.by_key.remove(id);
            }
        }
    }

    /// Removes and returns the next key whose timer is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<KeyId> {
        let id = self.timers.pop_due(now)?;
        self.by_key.remove(&id);
        Some(id)
    }

    /// The time of the next timer.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.timers.next_at()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{Key, Tenant};

    fn id(key: &str) -> KeyId {
        KeyId { tenant: Tenant::trusted("t"), key: Key::trusted(key) }
    }

    #[test]
    fn a_key_has_one_timer_and_a_new_one_replaces_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = KeyTimers::default();
        timers.set(&id("a"), Some(at(10)));
        timers.set(&id("b"), Some(at(20)));
        timers.set(&id("a"), Some(at(30)));
        assert_eq!(timers.pop_due(at(25)), Some(id("b")));
        assert_eq!(timers.pop_due(at(25)), None);
        assert_eq!(timers.pop_due(at(30)), Some(id("a")));
        assert!(!timers.contains(&id("a")));
    }

    #[test]
    fn a_removed_timer_is_never_due() {
        let start = Instant::now();
        let mut timers = KeyTimers::default();
        timers.set(&id("a"), Some(start));
        timers.set(&id("a"), None);
        assert!(!timers.contains(&id("a")));
        assert_eq!(timers.pop_due(start), None);
    }
}
