//! Whether to decide at once or to load first.
//!
//! An unknown key is taken to be absent, and a remembered one to be unchanged: right guesses save a round trip, wrong
//! ones cost one. Which are mostly right depends on the callers: new keys or old ones, clients that stay on a replica or
//! clients that do not. So the outcomes are counted, and where guesses mostly fail it loads first, trying a guess now
//! and then.

/// The share of right guesses, out of this, below which a guess does not pay.
const PAYS_ABOVE: u32 = 400;
/// A share of 1.
const WHOLE: u32 = 1_000;
/// The weight of one outcome is 1 to this.
const INERTIA: u32 = 32;
/// One in so many is guessed even where guesses mostly fail.
const PROBE_EVERY: u32 = 32;

/// A running share of right guesses.
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
        self.right >= PAYS_ABOVE || self.asked.is_multiple_of(PROBE_EVERY)
    }

    fn note(&mut self, right: bool) {
        let target = if right { WHOLE } else { 0 };
        self.right = (self.right * (INERTIA - 1) + target) / INERTIA;
    }
}

/// How far memory and guesses can be trusted.
#[derive(Debug, Default)]
pub(super) struct Speculation {
    unknown_is_absent: Share,
    remembered_is_current: Share,
}

impl Speculation {
    /// Whether an unknown key should be taken to be absent.
    pub(super) fn assume_absent(&mut self) -> bool {
        self.unknown_is_absent.pays()
    }

    /// Whether a remembered key should be taken to be unchanged.
    pub(super) fn trust_memory(&mut self) -> bool {
        self.remembered_is_current.pays()
    }

    /// A write that was decided without a load won or lost its race. `absent`: on the guess that there is no row.
    pub(super) fn note(&mut self, absent: bool, won: bool) {
        let share = if absent { &mut self.unknown_is_absent } else { &mut self.remembered_is_current };
        share.note(won);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stops_guessing_when_guesses_fail_and_comes_back_when_they_hold() {
        let mut speculation = Speculation::default();
        assert!(speculation.assume_absent());
        for _ in 0..100 {
            speculation.note(true, false);
        }
        let assumptions = (0..320).filter(|_| speculation.assume_absent()).count();
        assert_eq!(assumptions, 10, "only one in 32 is tried");
        for _ in 0..100 {
            speculation.note(true, true);
        }
        assert!((0..10).all(|_| speculation.assume_absent()));
    }
}
