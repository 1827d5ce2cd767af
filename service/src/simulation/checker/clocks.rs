//! The times of the database's clock, and the times that a replica may have assumed.

/// The time after a step in which a replica may still act on the earlier clock: a reading is used for a second, and a
/// statement that was decided with it may be under way for some more.
const ECHO_MS: i64 = 8_000;

/// The time after a step in which a promise may be computed from an old reading.
const OLD_READING_MS: i64 = 1_500;

/// The database's clock over the time of a simulation.
#[derive(Debug)]
pub(super) struct Clocks {
    offset: i64,
    /// The steps of the clock, with their times and sizes.
    steps: Vec<(i64, i64)>,
}

impl Clocks {
    pub(super) fn new(offset: i64) -> Self {
        Self { offset, steps: Vec::new() }
    }

    pub(super) fn step(&mut self, at: i64, by: i64) {
        self.steps.push((at, by));
    }

    fn shown(&self, at: i64) -> i64 {
        let steps: i64 = self.steps.iter().filter(|(step, _)| *step <= at).map(|(_, by)| by).sum();
        at + self.offset + steps
    }

    /// The lower and upper bound of the times that a replica may have assumed between two moments.
    pub(super) fn bounds(&self, from: i64, to: i64) -> (i64, i64) {
        let echo: i64 = self
            .steps
            .iter()
            .filter(|(at, _)| *at >= from - ECHO_MS && *at <= to)
            .map(|(_, by)| by.abs())
            .sum();
        let (first, last) = (self.shown(from), self.shown(to));
        (first.min(last) - echo, first.max(last) + echo)
    }

    /// Whether a step falls between two moments, or shortly before.
    pub(super) fn stepped(&self, from: i64, to: i64) -> bool {
        self.steps.iter().any(|(at, _)| *at >= from - OLD_READING_MS && *at <= to)
    }

    /// Whether the clock stepped back, and a replica may still act on the earlier time.
    pub(super) fn stepped_back_lately(&self, at: i64) -> bool {
        self.steps.iter().any(|(step, by)| *by < 0 && *step >= at - ECHO_MS)
    }
}
