//! Keys that lost a race a short time ago: another replica writes them, too.
//!
//! On MySQL and MariaDB one write that loses its race costs all writes of its batch: nothing is written, and the batch is
//! written again step by step. So the writes of such keys have batches of their own. Otherwise a tenant whose keys are
//! written at two replicas would delay all others.

use std::time::Duration;

use tokio::time::Instant;

use crate::{SeededSet, domain::KeyId};

/// How long a key is remembered, at least. It is remembered for twice this time at most.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);

/// How many keys are remembered, at most: twice this number.
const MOST_KEYS: usize = 5_000;

/// The keys that lost a race, in two generations.
#[derive(Debug)]
pub(super) struct ContestedKeys {
    young: SeededSet<KeyId>,
    old: SeededSet<KeyId>,
    /// When this generation began.
    since: Instant,
}

impl ContestedKeys {
    /// Starts without keys.
    pub(super) fn new(now: Instant) -> Self {
        Self { young: SeededSet::default(), old: SeededSet::default(), since: now }
    }

    /// Whether a key lost a race a short time ago.
    pub(super) fn contains(&self, id: &KeyId) -> bool {
        // The usual case costs no hash.
        let is_in = |keys: &SeededSet<KeyId>| !keys.is_empty() && keys.contains(id);
        is_in(&self.young) || is_in(&self.old)
    }

    /// Notes that a key has lost a race.
    pub(super) fn note(&mut self, id: &KeyId, now: Instant) {
        self.forget(now);
        if self.young.len() >= MOST_KEYS {
            self.end_generation(now);
        }
        self.young.insert(id.clone());
    }

    /// Forgets the keys whose time is over.
    pub(super) fn forget(&mut self, now: Instant) {
        if self.young.is_empty() && self.old.is_empty() {
            return;
        }
        if now >= self.since + 2 * REMEMBERED_FOR {
            self.young.clear();
        }
        if now >= self.since + REMEMBERED_FOR {
            self.end_generation(now);
        }
    }

    fn end_generation(&mut self, now: Instant) {
        self.old = std::mem::take(&mut self.young);
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Key, Tenant};

    #[test]
    fn a_key_is_remembered_for_some_seconds_after_its_last_lost_race() {
        let start = Instant::now();
        let mut keys = ContestedKeys::new(start);
        let id = KeyId { tenant: Tenant::trusted("t"), key: Key::trusted("a") };
        for forgotten in [&[1, 2][..], &[2]] {
            keys.note(&id, start);
            for part in forgotten {
                assert!(keys.contains(&id));
                keys.forget(start + REMEMBERED_FOR * *part);
            }
            assert!(!keys.contains(&id), "{forgotten:?}");
            keys = ContestedKeys::new(start);
        }
    }

    #[test]
    fn a_bounded_number_of_keys_is_remembered() {
        let start = Instant::now();
        let mut keys = ContestedKeys::new(start);
        for number in 0..20_000 {
            keys.note(&KeyId { tenant: Tenant::trusted("t"), key: Key::trusted(&number.to_string()) }, start);
        }
        assert!(keys.young.len() + keys.old.len() <= 2 * MOST_KEYS);
    }
}
