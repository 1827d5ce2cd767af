//! Whether to decide at once or to load first.
//!
//! A key that is not cached is assumed to have no row, and a cached one to be unchanged. A right assumption saves a round
//! trip; a wrong one costs one. Which of them are mostly right depends on the callers: new keys or old ones, clients that stay
//! with a replica or clients that do not. So the outcomes are counted. Where assumptions mostly fail keys are loaded first,
//! and only now and then one is decided without, to see whether that has changed.

/// The share of right assumptions, in thousandths, from which on an assumption pays.
const PAYS_FROM: u32 = 400;
/// A share of 1, in thousandths.
const WHOLE: u32 = 1_000;
/// The weight of one outcome is the reciprocal of this.
const INERTIA: u32 = 32;
/// Where assumptions mostly fail one in this many decisions is still taken on one.
const PROBE_EVERY: u32 = 32;

/// A running share of right assumptions.
#[derive(Debug)]
struct Share {
    right: u32,
    asked: u32,
}

impl Default for Share {
    fn default() -> Self {
        Self { right: WHOLE, asked: 0 }
    }
}

impl Share {
    fn pays(&mut self) -> bool {
        self.asked = self.asked.wrapping_add(1);
        self.right >= PAYS_FROM || self.asked.is_multiple_of(PROBE_EVERY)
    }

    fn note(&mut self, right: bool) {
        let target = if right { WHOLE } else { 0 };
        self.right = (self.right * (INERTIA - 1) + target) / INERTIA;
    }
}

/// How often each kind of assumption was right.
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

    /// A write on the assumption that a key had no row won or lost its race.
    pub(super) fn note_absent(&mut self, won: bool) {
        self.absent.note(won);
    }

    /// A write on a cached state won or lost its race.
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
