//! What this replica knows of the database's time.
//!
//! The time that decides is the database's. Each answer of the database tells it; between two answers this clock
//! reckons on with the process's monotonic clock, which measures only how long something took. It owns the detection of
//! steps of the database's clock and must never read the machine's wall clock.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::domain::{Now, Timestamp};

/// For how long a reading may be reckoned on with. After that it is asked for anew, so that leases do not come out short.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// By how much two readings may disagree with the monotonic clock before it is called a step, in milliseconds: more than
/// scheduling and slewing do, less than anybody's lease should be off.
const STEP_TOLERANCE_MS: i64 = 250;

/// One answer of the database about its time.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// What it told, in milliseconds, rounded down.
    told: Timestamp,
    /// When the question was sent: the database's clock had not passed `told` + 1 ms by then.
    sent: Instant,
    /// When the answer was there: the database's clock had reached `told` by then.
    received: Instant,
}

/// The database's clock as this replica reckons it.
#[derive(Debug, Default)]
pub(crate) struct DatabaseClock {
    /// The newest reading. Held only to copy it: no await, no I/O.
    reading: Mutex<Option<Reading>>,
}

impl DatabaseClock {
    /// Takes note of what the database told.
    pub(crate) fn observe(&self, told: Timestamp, sent: Instant, received: Instant) {
        let mut newest = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = *newest {
            if received < before.received {
                return;
            }
            report_step(before, Reading { told, sent, received });
        }
        *newest = Some(Reading { told, sent, received });
    }

    /// The database's time now, if it was told lately enough to reckon with.
    pub(crate) fn now(&self, at: Instant) -> Option<Now> {
        let reading = (*self.reading.lock().unwrap_or_else(PoisonError::into_inner))?;
        let since_received = at.saturating_duration_since(reading.received);
        if since_received > FRESH_FOR {
            return None;
        }
        let since_sent = at.saturating_duration_since(reading.sent);
        Some(Now {
            at_least: reading.told.plus_ms(whole_ms(since_received)),
            // What was told was rounded down, and so is what has passed since: at most 2 ms are missing.
            at_most: reading.told.plus_ms(whole_ms(since_sent) + 2),
        })
    }

    /// The database's time at `at`, from what it told in an answer to a question sent at `sent`, however long ago.
    /// Everything since `sent` may have passed after the clock was read, or before.
    pub(crate) fn reckon(&self, told: Timestamp, sent: Instant, at: Instant) -> Now {
        let since_sent = at.saturating_duration_since(sent);
        let known = self.now(at).map_or(told, |now| now.at_least.max(told));
        Now { at_least: known, at_most: told.plus_ms(whole_ms(since_sent) + 2).max(known) }
    }

    /// When the database's clock will certainly show `at`, as far as can be told now.
    pub(crate) fn instant_of(&self, at: Timestamp) -> Option<Instant> {
        let reading = (*self.reading.lock().unwrap_or_else(PoisonError::into_inner))?;
        let ahead_ms = at.ms_since(reading.told);
        match u64::try_from(ahead_ms) {
            Ok(ahead_ms) => reading.received.checked_add(Duration::from_millis(ahead_ms)),
            Err(_) => Some(reading.received),
        }
    }
}

fn whole_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

/// Says so when the database's clock did not go as the monotonic clock did.
fn report_step(before: Reading, after: Reading) {
    let least = whole_ms(after.sent.saturating_duration_since(before.received));
    let most = whole_ms(after.received.saturating_duration_since(before.sent)) + 2;
    let went = after.told.ms_since(before.told);
    let step_ms = if went > most + STEP_TOLERANCE_MS {
        went - most
    } else if went < least - STEP_TOLERANCE_MS {
        went - least
    } else {
        return;
    };
    let direction = if step_ms > 0 { "forward" } else { "back" };
    metrics::counter!("db_locks_database_clock_steps_total", "direction" => direction).increment(1);
    tracing::warn!(step_ms, direction, "the database's clock stepped");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_enclose_the_time_however_long_the_answer_took() {
        let clock = DatabaseClock::default();
        let sent = Instant::now();
        let received = sent + Duration::from_millis(40);
        clock.observe(Timestamp(1_000), sent, received);
        let now = clock.now(received + Duration::from_millis(10));
        assert_eq!(now, Some(Now { at_least: Timestamp(1_010), at_most: Timestamp(1_052) }));
    }

    #[test]
    fn a_reading_older_than_a_second_is_not_reckoned_with() {
        let clock = DatabaseClock::default();
        let sent = Instant::now();
        clock.observe(Timestamp(1_000), sent, sent);
        assert!(clock.now(sent + Duration::from_secs(1)).is_some());
        assert!(clock.now(sent + Duration::from_millis(1_001)).is_none());
    }

    #[test]
    fn an_event_is_not_looked_for_before_the_database_has_reached_it() {
        let clock = DatabaseClock::default();
        let sent = Instant::now();
        let received = sent + Duration::from_millis(5);
        clock.observe(Timestamp(1_000), sent, received);
        let at = clock.instant_of(Timestamp(1_500));
        assert_eq!(at, Some(received + Duration::from_millis(500)));
    }
}
