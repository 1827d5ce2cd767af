//! The entries of the cache, in bounded memory.

use tokio::time::Instant;

use super::entry::{Entry, KnownToken};
use crate::{Kept, SeededMap, access::SecretHash, beyond_shares};

/// The most memory of remembered tokens, in bytes as [`Entry::bytes`] counts them.
pub(super) const MOST_BYTES: usize = 64 << 20;
/// What remains when the memory is full. So tokens are forgotten many at a time, since each time all entries are read.
const KEPT_BYTES: usize = MOST_BYTES / 16 * 15;

/// The database's last answers.
#[derive(Debug, Default)]
pub(super) struct Entries {
    by_hash: SeededMap<SecretHash, Entry>,
    /// The memory of the remembered tokens.
    bytes: usize,
}

impl Entries {
    pub(super) fn get(&self, hash: &SecretHash) -> Option<&Entry> {
        self.by_hash.get(hash)
    }

    /// The entry of a hash. Its token must not be replaced by another one.
    pub(super) fn get_mut(&mut self, hash: &SecretHash) -> Option<&mut Entry> {
        self.by_hash.get_mut(hash)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&SecretHash, &Entry)> {
        self.by_hash.iter()
    }

    /// The tokens that are remembered, and when they were last used.
    pub(super) fn tokens_mut(&mut self) -> impl Iterator<Item = (Instant, &mut KnownToken)> {
        self.by_hash.values_mut().filter_map(|entry| Some((entry.used, entry.token.as_mut()?)))
    }

    /// Sets the entry of a hash. If the memory is full then, tokens are forgotten.
    pub(super) fn insert(&mut self, hash: SecretHash, entry: Entry) {
        self.bytes += entry.bytes();
        if let Some(before) = self.by_hash.insert(hash, entry) {
            self.bytes -= before.bytes();
        }
        if self.bytes > MOST_BYTES {
            self.make_room();
        }
    }

    /// Forgets the entries for which `keep` returns false.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Entry) -> bool) {
        self.by_hash.retain(|_, entry| {
            let is_kept = keep(entry);
            if !is_kept {
                self.bytes -= entry.bytes();
            }
            is_kept
        });
    }

    /// Forgets tokens of the tenants whose tokens take the most memory.
    fn make_room(&mut self) {
        let kept = self.by_hash.iter().filter_map(|(hash, entry)| {
            let party = entry.token.as_ref()?.tenant();
            Some(Kept { key: *hash, party, used: entry.used, size: entry.bytes() })
        });
        for hash in beyond_shares(kept, KEPT_BYTES) {
            if let Some(forgotten) = self.by_hash.remove(&hash) {
                self.bytes -= forgotten.bytes();
            }
        }
    }

    /// The memory of the remembered tokens.
    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}
