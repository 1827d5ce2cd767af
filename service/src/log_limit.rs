//! Limits repeated lines of the log to one a second, with the number of lines left out.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The least time between two lines of one cause.
const PERIOD: Duration = Duration::from_secs(1);

/// Limits the lines of one cause. Each cause has a `static` of this type.
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    left_out: u64,
}

impl LogLimit {
    /// A limit for a cause that was not logged yet.
    pub const fn new() -> Self {
        Self(Mutex::new(State { last: None, left_out: 0 }))
    }

    /// Whether to log now. `Some` has the number of lines left out since the last one. `None` leaves out this line,
    /// too.
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
