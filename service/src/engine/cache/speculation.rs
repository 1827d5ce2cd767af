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

/// The success of one kind of assumption.
#[derive(Debug)]
pub(super) struct Assumption {
    /// The running share of right ones, in thousandths.
    right: u32,
    /// The number of decisions that could be based on it.
    asked: u32,
}

impl Default for Assumption {
    fn default() -> Self {
        Self { right: FULL_SHARE, asked: 0 }
    }
}

impl Assumption {
    /// Whether to base a decision on it.
    pub(super) fn pays(&mut self) -> bool {
        self.asked = self.asked.wrapping_add(1);
        self.right >= MIN_SHARE || self.asked.is_multiple_of(PROBE_EVERY)
    }

    /// Notes whether a decision that was based on it won its race.
    pub(super) fn note(&mut self, right: bool) {
        let target = if right { FULL_SHARE } else { 0 };
        self.right = (self.right * (WEIGHT_RECIPROCAL - 1) + target) / WEIGHT_RECIPROCAL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speculation_stops_when_assumptions_fail_and_resumes_when_they_hold() {
        let mut assumption = Assumption::default();
        assert!(assumption.pays());
        for _ in 0..100 {
            assumption.note(false);
        }
        let decisions = (0..320).filter(|_| assumption.pays()).count();
        assert_eq!(decisions, 10, "only one in 32 is tried");
        for _ in 0..100 {
            assumption.note(true);
        }
        assert!((0..10).all(|_| assumption.pays()));
    }
}
