//! Versions whose grants have ended, remembered so that a late repeat of their requests is refused and never granted a
//! second time.

use super::{Now, Timestamp, Version};

/// A version as a 64-bit digest: enough to distinguish it from the other versions of a key, and half the size of a version. If
/// two versions have the same digest, a fresh one is refused as if it had been used: one in 2^58 for a full history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionDigest(pub u64);

impl VersionDigest {
    /// The digest of a version. Digests are stored, so this function can never change.
    pub const fn of(version: Version) -> Self {
        let (high, low) = version.0.as_u64_pair();
        // The finalizer of SplitMix64: versions that count up or share one half have different digests, too.
        let mixed = (high ^ (high >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((mixed ^ (mixed >> 31)) ^ low)
    }
}

/// One version whose grant has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedVersion {
    /// The digest of the version.
    pub digest: VersionDigest,
    /// When the grant was replaced, or a little later.
    pub at: Timestamp,
}

/// The chosen versions of a key's grants that were replaced by later grants, newest last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndedVersions(Vec<EndedVersion>);

impl EndedVersions {
    /// The number of versions that are remembered however long ago they ended.
    pub const AT_LEAST: usize = 8;
    /// How long each version is remembered, in milliseconds, unless there are too many.
    pub const AT_LEAST_MS: i64 = 600_000;
    /// The maximum number of remembered versions: they are part of the key's row, which every command writes.
    pub const AT_MOST: usize = 64;

    /// Takes the stored versions, newest last.
    pub fn new(mut ended: Vec<EndedVersion>) -> Self {
        ended.drain(..ended.len().saturating_sub(Self::AT_MOST));
        Self(ended)
    }

    /// All versions, newest last.
    pub fn as_slice(&self) -> &[EndedVersion] {
        &self.0
    }

    /// Whether the version is remembered as ended.
    pub fn contains(&self, version: Version) -> bool {
        let digest = VersionDigest::of(version);
        self.0.iter().any(|ended| ended.digest == digest)
    }

    /// Adds a version. Forgets the oldest ones that need not or cannot be remembered any longer.
    pub fn push(&mut self, version: Version, now: Now) {
        self.0.push(EndedVersion { digest: VersionDigest::of(version), at: now.at_most });
        let forgotten = Self::forgotten(self.0.iter().map(|ended| ended.at), now);
        self.0.drain(..forgotten);
    }

    /// The number of the oldest entries of a history that are forgotten, from the times of all entries, oldest first.
    pub(super) fn forgotten(times: impl ExactSizeIterator<Item = Timestamp>, now: Now) -> usize {
        let count = times.len();
        let beyond = |most: usize| count.saturating_sub(most);
        let is_old = |at: &Timestamp| now.is_past(at.plus_ms(Self::AT_LEAST_MS));
        let old = times.take(beyond(Self::AT_LEAST)).take_while(is_old).count();
        old.max(beyond(Self::AT_MOST))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const MINUTE: i64 = 60_000;

    fn version(number: u64) -> Version {
        Version(Uuid::from_u128(number.into()))
    }

    /// A history of `count` versions, with `every_ms` between their ends and after the last.
    fn ended(count: u64, every_ms: i64) -> EndedVersions {
        let mut ended = EndedVersions::default();
        let mut at = 0;
        for number in 0..count {
            ended.push(version(number), Now::exactly(at));
            at += every_ms;
        }
        ended
    }

    #[test]
    fn the_last_eight_are_remembered_however_long_ago_they_ended() {
        let ended = ended(20, 24 * 60 * MINUTE);
        assert!((12..20).all(|number| ended.contains(version(number))));
        assert!((0..12).all(|number| !ended.contains(version(number))));
    }

    #[test]
    fn all_of_the_last_ten_minutes_are_remembered() {
        // The last of them ended in minute 19.
        let ended = ended(20, MINUTE);
        assert!((10..20).all(|number| ended.contains(version(number))));
        assert!(!ended.contains(version(8)));
    }

    #[test]
    fn no_more_than_64_are_remembered_and_the_oldest_are_forgotten_first() {
        let ended = ended(100, 1);
        assert_eq!(ended.as_slice().len(), 64);
        assert!((36..100).all(|number| ended.contains(version(number))));
    }

    /// Guards stored digests: another digest would forget all versions that ended before.
    #[test]
    fn the_digest_of_a_version_never_changes() {
        let digest = |number| VersionDigest::of(Version(Uuid::from_u128(number))).0;
        assert_eq!(digest(7), 7);
        assert_eq!(digest(1 << 64), 0x5692_161d_100b_05e5);
    }
}
