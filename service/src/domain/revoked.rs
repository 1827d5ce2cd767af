//! Grants that operators ended by force, remembered so that their former holders get the answer "revoked".

use std::sync::Arc;

use super::{EndedVersions, Now, Reason, Timestamp, Version, VersionDigest};

/// A grant that an operator ended by force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The digest of the grant's version.
    pub digest: VersionDigest,
    /// When the grant was ended.
    pub at: Timestamp,
    /// The operator who ended the grant, named as in the audit log; `None` without authentication.
    pub by: Option<Arc<str>>,
    /// The reason, if the operator gave one.
    pub reason: Option<Reason>,
}

impl Revocation {
    fn text_bytes(&self) -> usize {
        self.by.as_ref().map_or(0, |by| by.len())
            + self.reason.as_ref().map_or(0, |reason| reason.as_str().len())
    }
}

/// The grants of a key that were ended by force, newest last. They are remembered as long as [chosen
/// versions](EndedVersions).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Revocations(Vec<Revocation>);

impl Revocations {
    /// The maximum size of all texts of a key in bytes: they are part of its row. Eight of the longest reasons fit.
    pub const MOST_TEXT_BYTES: usize = 40_000;

    /// Takes the stored revocations, newest last.
    pub const fn new(revocations: Vec<Revocation>) -> Self {
        Self(revocations)
    }

    /// All revocations, newest last.
    pub fn as_slice(&self) -> &[Revocation] {
        &self.0
    }

    /// The revocation of a version's grant, if it was ended by force.
    pub fn find(&self, version: Version) -> Option<&Revocation> {
        if self.0.is_empty() {
            return None;
        }
        let digest = VersionDigest::of(version);
        self.0.iter().find(|revocation| revocation.digest == digest)
    }

    /// The approximate size in bytes.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|revocation| size_of::<Revocation>() + revocation.text_bytes()).sum()
    }

    /// Adds a revocation. Forgets the oldest ones that need not or cannot be remembered any longer. If the texts are
    /// too long, the oldest texts are dropped first.
    pub fn push(&mut self, revocation: Revocation, now: Now) {
        self.0.push(revocation);
        let forgotten = EndedVersions::forgotten(self.0.iter().map(|revocation| revocation.at), now);
        self.0.drain(..forgotten);
        let mut left = Self::MOST_TEXT_BYTES;
        for revocation in self.0.iter_mut().rev() {
            if let Some(rest) = left.checked_sub(revocation.text_bytes()) {
                left = rest;
            } else {
                (revocation.by, revocation.reason) = (None, None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn version(number: usize) -> Version {
        Version(Uuid::from_u128(number as u128))
    }

    fn revoked(count: usize, every_ms: i64, reason: &str) -> Revocations {
        let mut revocations = Revocations::default();
        let mut now = Now::exactly(0);
        for number in 0..count {
            let digest = VersionDigest::of(version(number));
            let reason = Some(Reason::trusted(reason));
            revocations.push(Revocation { digest, at: now.at_most, by: None, reason }, now);
            now = Now::exactly(now.at_most.plus_ms(every_ms).0);
        }
        revocations
    }

    #[test]
    fn revocations_are_remembered_as_long_as_chosen_versions() {
        let rare = revoked(20, 24 * 3_600_000, "");
        assert!((12..20).all(|number| rare.find(version(number)).is_some()));
        assert!((0..12).all(|number| rare.find(version(number)).is_none()));
        assert_eq!(revoked(100, 1, "").as_slice().len(), EndedVersions::AT_MOST);
    }

    #[test]
    fn the_last_eight_keep_the_longest_reasons_and_the_oldest_lose_theirs_first() {
        let longest = "\u{1f512}".repeat(1_000);
        let revocations = revoked(64, 1, &longest);
        let has_reason = |number| revocations.find(version(number)).is_some_and(|it| it.reason.is_some());
        assert!((56..64).all(has_reason));
        assert!(!has_reason(0) && revocations.find(version(0)).is_some());
    }
}
