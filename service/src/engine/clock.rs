//! Estimates the database's time between its answers.
//!
//! The database's clock decides. Each answer of the database carries its time. Between two answers this estimate adds
//! the time that the process's monotonic clock measured. It detects steps of the database's clock, and must never read
//! the machine's wall clock.
//!
//! A slow answer says little about the time. So the bounds come from several readings, as long as they agree: the
//! highest lower bound and the lowest upper bound.

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::metrics::CLOCK_STEPS;
use crate::domain::{Now, Timestamp};

/// How long a reading is used after its question was sent. Then the time is asked for again. So a step of the database's
/// clock is noticed within this time, and no decision uses an answer that took longer.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// The disagreement between two readings above which a step is reported, in microseconds: more than scheduling causes,
/// and less than a lease should be off.
const REPORTED_STEP_US: i64 = 250_000;

/// The reciprocal of the maximum drift between the two clocks: 500 ppm, the fastest rate at which a clock is slewed.
const DRIFT_RECIPROCAL: i64 = 2_000;

/// One answer of the database about its time.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// The database's time in milliseconds, rounded down.
    db_time: Timestamp,
    /// When the question was sent: the database's clock had not passed `db_time` + 1 ms by then.
    sent: Instant,
    /// When the answer arrived: the database's clock had reached `db_time` by then.
    received: Instant,
}

impl Reading {
    /// The lower bound of the database's clock at `at`, in microseconds.
    fn least_us(&self, at: Instant) -> i64 {
        self.db_time.0.saturating_mul(1_000).saturating_add(signed_us(at, self.received))
    }

    /// The upper bound of the database's clock at `at`, in microseconds.
    fn most_us(&self, at: Instant) -> i64 {
        self.db_time.plus_ms(1).0.saturating_mul(1_000).saturating_add(signed_us(at, self.sent))
    }

    fn is_fresh(&self, at: Instant) -> bool {
        at.saturating_duration_since(self.sent) <= FRESH_FOR || planted!(ExpiryByLocalClock)
    }
}

/// The readings in use.
#[derive(Debug, Clone, Copy)]
struct Readings {
    /// The reading whose question was sent last.
    newest: Reading,
    /// The reading that sets the lower bound, while it is fresh.
    lower: Reading,
    /// The reading that sets the upper bound, while it is fresh.
    upper: Reading,
    /// When the last answer arrived.
    received: Instant,
}

impl Readings {
    const fn of(reading: Reading) -> Self {
        Self { newest: reading, lower: reading, upper: reading, received: reading.received }
    }

    /// The readings that set the bounds at `at`.
    fn bounds(&self, at: Instant) -> (Reading, Reading) {
        let fresh_or_newest = |reading: Reading| if reading.is_fresh(at) { reading } else { self.newest };
        (fresh_or_newest(self.lower), fresh_or_newest(self.upper))
    }

    /// The distance of a reading from the bounds, in microseconds; negative below them, 0 within them.
    fn disagreement_us(&self, reading: &Reading) -> i64 {
        let at = reading.received;
        let (lower, upper) = self.bounds(at);
        let drift = |before: &Reading| signed_us(at, before.sent).max(0) / DRIFT_RECIPROCAL;
        let ahead = reading.least_us(at) - upper.most_us(at) - drift(&upper);
        let behind = lower.least_us(at) - reading.most_us(at) - drift(&lower);
        if ahead > 0 { ahead } else { -behind.max(0) }
    }

    /// Adds a reading that agrees with the earlier ones.
    fn narrow(&mut self, reading: Reading) {
        let at = reading.received;
        let (lower, upper) = self.bounds(at);
        let is_fresh = reading.is_fresh(at);
        let is_higher = is_fresh && reading.least_us(at) >= lower.least_us(at);
        let is_lower = is_fresh && reading.most_us(at) <= upper.most_us(at);
        self.lower = if is_higher || !lower.is_fresh(at) { reading } else { lower };
        self.upper = if is_lower || !upper.is_fresh(at) { reading } else { upper };
        if reading.sent >= self.newest.sent {
            self.newest = reading;
        }
        self.received = self.received.max(at);
    }

    /// Adds a reading that disagrees: the clock has stepped. If the reading was under way together with the last one,
    /// it is unknown which of the two clock values came first, and the bounds enclose both.
    fn replace(&mut self, reading: Reading) {
        let at = reading.received;
        let before = self.newest;
        *self = Self::of(reading);
        if reading.sent < before.received {
            let by_least = |one: &Reading| one.least_us(at);
            let by_most = |one: &Reading| one.most_us(at);
            self.lower = if by_least(&before) < by_least(&reading) { before } else { reading };
            self.upper = if by_most(&before) > by_most(&reading) { before } else { reading };
        }
    }
}

/// This replica's estimate of the database's clock.
#[derive(Debug, Default)]
pub(crate) struct DatabaseClock {
    /// The lock is held only to copy or update the readings: no await, no I/O.
    readings: Mutex<Option<Readings>>,
}

impl DatabaseClock {
    /// Adds the database's time from an answer. If this shows a step of the database's clock that is large enough to be
    /// reported, returns the step in milliseconds.
    pub(crate) fn observe(&self, db_time: Timestamp, sent: Instant, received: Instant) -> Option<i64> {
        let reading = Reading { db_time, sent, received };
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(readings) = &mut *readings else {
            *readings = Some(Readings::of(reading));
            return None;
        };
        if planted!(ExpiryByLocalClock) {
            return None;
        }
        let step_us = readings.disagreement_us(&reading);
        if step_us == 0 {
            readings.narrow(reading);
            return None;
        }
        readings.replace(reading);
        (step_us.abs() > REPORTED_STEP_US).then(|| report_step(step_us / 1_000))
    }

    /// The database's time now; `None` if the last reading is too old for a decision.
    pub(crate) fn now(&self, at: Instant) -> Option<Now> {
        let readings = self.copy()?;
        let (lower, upper) = readings.bounds(at);
        (lower.is_fresh(at) && upper.is_fresh(at)).then(|| enclosed(lower.least_us(at), upper.most_us(at)))
    }

    /// The database's time now, for an answer to a caller. A reading counts here by when its answer arrived, however
    /// long ago its question was sent. So the bounds may be wide, but they are true.
    pub(crate) fn latest(&self, at: Instant) -> Option<Now> {
        let readings = self.copy()?;
        let (lower, upper) = readings.bounds(at);
        let is_recent = at.saturating_duration_since(readings.received) <= FRESH_FOR;
        is_recent.then(|| enclosed(lower.least_us(at), upper.most_us(at)))
    }

    /// The database's time by the newest reading, however old: for records, not for decisions.
    pub(crate) fn last_known(&self, at: Instant) -> Option<Timestamp> {
        self.copy()
            .map(|readings| enclosed(readings.newest.least_us(at), readings.newest.most_us(at)).at_most)
    }

    /// The database's time at `at`, from an answer to a question sent at `sent`, however long ago. The clock may have
    /// been read at any moment between `sent` and `at`.
    pub(crate) fn extrapolate(&self, db_time: Timestamp, sent: Instant, at: Instant) -> Now {
        let reading = Reading { db_time, sent, received: at };
        let own = enclosed(reading.least_us(at), reading.most_us(at));
        match self.now(at) {
            Some(now) if now.at_least <= own.at_most && own.at_least <= now.at_most => {
                Now { at_least: now.at_least.max(own.at_least), at_most: now.at_most.min(own.at_most) }
            }
            Some(_) | None => own,
        }
    }

    /// The most probable instant at which the database's clock showed `event`, to measure durations; decisions need the
    /// bounds of [`Self::now`]. With `is_upper_bound` the `event` is [`Now::at_most`] of another replica. It is then
    /// compared with this replica's upper bound, which is about as uncertain.
    pub(crate) fn estimate_instant(&self, event: Timestamp, is_upper_bound: bool) -> Option<Instant> {
        /// The average amount by which an upper bound is rounded up to whole milliseconds.
        const ROUNDED_UP_US: i64 = 500;
        let at = Instant::now();
        let (lower, upper) = self.copy()?.bounds(at);
        let (least_us, most_us) = (lower.least_us(at), upper.most_us(at));
        let now_us = if is_upper_bound { most_us + ROUNDED_UP_US } else { i64::midpoint(least_us, most_us) };
        let passed_us = now_us.saturating_sub(event.0.saturating_mul(1_000));
        at.checked_sub(Duration::from_micros(u64::try_from(passed_us).unwrap_or(0)))
    }

    /// The instant at which the database's clock will certainly show `at`, by the present readings.
    pub(crate) fn instant_of(&self, at: Timestamp) -> Option<Instant> {
        let readings = self.copy()?;
        let lower =
            if readings.lower.is_fresh(readings.newest.received) { readings.lower } else { readings.newest };
        match u64::try_from(at.ms_since(lower.db_time)) {
            Ok(ahead_ms) => lower.received.checked_add(Duration::from_millis(ahead_ms)),
            Err(_) => Some(lower.received),
        }
    }

    fn copy(&self) -> Option<Readings> {
        *self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Widens two bounds to whole milliseconds.
fn enclosed(least_us: i64, most_us: i64) -> Now {
    let at_least = Timestamp(least_us.div_euclid(1_000));
    // `at_most` is rounded up. The bounds may have crossed if readings disagree a little.
    let at_most = Timestamp(most_us.saturating_add(999).div_euclid(1_000)).max(at_least);
    Now { at_least, at_most }
}

/// Microseconds from `earlier` to `later`; negative if `later` comes first.
fn signed_us(later: Instant, earlier: Instant) -> i64 {
    let us = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4);
    match later.checked_duration_since(earlier) {
        Some(ahead) => us(ahead),
        None => -us(earlier.duration_since(later)),
    }
}

fn report_step(step_ms: i64) -> i64 {
    let direction = if step_ms > 0 { "forward" } else { "back" };
    metrics::counter!(CLOCK_STEPS, "direction" => direction).increment(1);
    tracing::warn!(step_ms, direction, "the database's clock stepped");
    step_ms
}
