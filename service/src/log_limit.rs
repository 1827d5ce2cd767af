//! Lines of the log that would repeat: one a second, with the number of those left out.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How often the same cause is logged.
const PERIOD: Duration = Duration::from_secs(1);

/// Limits the lines of one cause. A cause is a `static` of this.
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    left_out: u64,
}

impl LogLimit {
    /// A cause that was never logged.
    pub const fn new() -> Self {
        Self(Mutex::new(State { last: None, left_out: 0 }))
    }

    /// Whether to log now: the number of lines left out since the last one, or `None` to leave this one out too.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < PERIOD) {
            state.left_out += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_logged_once_a_second_and_the_rest_is_counted() {
        let (limit, start) = (LogLimit::new(), Instant::now());
        let passes =
            [0, 10, 999, 1_000, 1_500, 2_100].map(|ms| limit.pass_at(start + Duration::from_millis(ms)));
        assert_eq!(passes, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
