//! What the database's clock showed, and what a replica may have taken it for.

/// For how long after a step somebody may still act on what the clock showed before: a reading is reckoned on with for a
/// second, and a statement that was decided on it may be under way for some more.
const ECHO_MS: i64 = 8_000;

/// For how long after a step a promise may be reckoned from an old reading.
const OLD_READING_MS: i64 = 1_500;

/// The database's clock over the time of a simulation.
#[derive(Debug)]
pub(super) struct Clocks {
    offset: i64,
    /// When it stepped, and by how much.
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

    /// The least and the most that anybody may have taken the clock to show between two moments.
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

    /// Whether the clock stepped back, and somebody may still act on what it showed before.
    pub(super) fn stepped_back_lately(&self, at: i64) -> bool {
        self.steps.iter().any(|(step, by)| *by < 0 && *step >= at - ECHO_MS)
    }
}
