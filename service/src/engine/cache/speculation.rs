//! Whether to decide at once or to load first.
//!
//! A key that is not cached is assumed to have no row, and a cached key to be unchanged. A right assumption saves a
//! round trip; a wrong one costs one. Which assumptions are mostly right depends on the callers: on new or old keys, on
//! clients that stay with one replica or change it. So the outcomes are counted. Where assumptions mostly fail, keys
//! are loaded first, and only a few are decided without a load, to notice when that pays again.

/// The share of right assumptions from which on an assumption pays, in thousandths.
const MIN_SHARE: u32 = 400;
/// A share of 1, in thousandths.
const FULL_SHARE: u32 = 1_000;
/// The reciprocal of the weight of one outcome.
const WEIGHT_RECIPROCAL: u32 = 32;
/// Where assumptions mostly fail, one in this many decisions is still based on one.
const PROBE_EVERY: u32 = 32;

/// A running share of right assumptions.
#[derive(Debug)]
struct Share {
    right: u32,
    asked: u32,
}

impl Default for Share {
    fn default() -> Self {
        Self { right: FULL_SHARE, asked: 0 }
    }
}

impl Share {
    fn pays(&mut self) -> bool {
        self.asked = self.asked.wrapping_add(1);
        self.right >= MIN_SHARE || self.asked.is_multiple_of(PROBE_EVERY)
    }

    fn note(&mut self, right: bool) {
        let target = if right { FULL_SHARE } else { 0 };
        self.right = (self.right * (WEIGHT_RECIPROCAL - 1) + target) / WEIGHT_RECIPROCAL;
    }
}

/// The success of each kind of assumption.
#[derive(Debug, Default)]
pub(super) struct Speculation {
    absent: Share,
    cached: Share,
}

impl Speculation {
    /// Whether a key that is not cached should be assumed to have no row.
    pub(super) fn assumes_absent(&mut self) -> bool {
        self.absent.pays()
    }

    /// Whether a cached key should be assumed to be unchanged.
    pub(super) fn trusts_cached(&mut self) -> bool {
        self.cached.pays()
    }

    /// Notes whether a write won its race that assumed a key to have no row.
    pub(super) fn note_absent(&mut self, won: bool) {
        self.absent.note(won);
    }

    /// Notes whether a write on a cached state won its race.
    pub(super) fn note_cached(&mut self, won: bool) {
        self.cached.note(won);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speculation_stops_when_assumptions_fail_and_resumes_when_they_hold() {
        let mut speculation = Speculation::default();
        assert!(speculation.assumes_absent());
        for _ in 0..100 {
            speculation.note_absent(false);
        }
        let assumptions = (0..320).filter(|_| speculation.assumes_absent()).count();
        assert_eq!(assumptions, 10, "only one in 32 is tried");
        for _ in 0..100 {
            speculation.note_absent(true);
        }
        assert!((0..10).all(|_| speculation.assumes_absent()));
    }
}
