//! The measurements of a client, and their summary.

use std::time::Instant;

use hdrhistogram::Histogram;

use crate::{
    client::Failures,
    number::{float, nanos},
    report::{Findings, Measure},
};

/// The longest time that is distinguished from longer ones: ten minutes, in nanoseconds.
const LONGEST: u64 = 600_000_000_000;

/// The times of one client's units of work, in nanoseconds. A plain list costs the least while it is written.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The whole unit.
    pub(super) whole: Vec<u64>,
    /// Its acquire.
    pub(super) acquire: Vec<u64>,
    /// Its release.
    pub(super) release: Vec<u64>,
    /// The failures, within the window or not.
    pub(super) failures: Failures,
}

impl Tally {
    /// Records a pair: the times when it began (or should have), when its acquire was sent and answered, and when its
    /// release was answered.
    pub(super) fn pair(&mut self, began: Instant, sent: Instant, granted: Instant, released: Instant) {
        self.whole.push(nanos(released - began));
        self.acquire.push(nanos(granted - sent));
        self.release.push(nanos(released - granted));
    }

    /// Merges the measurements of several clients.
    pub(super) fn merge(tallies: Vec<Self>) -> Self {
        let mut all = Self::default();
        for tally in tallies {
            all.whole.extend(tally.whole);
            all.acquire.extend(tally.acquire);
            all.release.extend(tally.release);
            all.failures.merge(tally.failures);
        }
        all
    }

    /// Adds the numbers that follow from the times.
    pub(super) fn describe(&self, findings: &mut Findings) {
        let whole = [Measure::P50Us, Measure::P99Us, Measure::P999Us];
        percentiles(findings, whole, &self.whole);
        percentiles(
            findings,
            [Measure::AcquireP50Us, Measure::AcquireP99Us, Measure::AcquireP999Us],
            &self.acquire,
        );
        percentiles(
            findings,
            [Measure::ReleaseP50Us, Measure::ReleaseP99Us, Measure::ReleaseP999Us],
            &self.release,
        );
        findings.failures.merge(self.failures.clone());
    }
}

/// Adds the median, the 99th and the 99.9th percentile of some times, if there are any.
pub(super) fn percentiles(findings: &mut Findings, names: [Measure; 3], nanoseconds: &[u64]) {
    let Ok(mut histogram) = Histogram::<u64>::new_with_bounds(1, LONGEST, 3) else {
        return;
    };
    for &time in nanoseconds {
        histogram.saturating_record(time);
    }
    if histogram.is_empty() {
        return;
    }
    for (name, quantile) in names.into_iter().zip([0.5, 0.99, 0.999]) {
        findings.set(name, float(histogram.value_at_quantile(quantile)) / 1e3);
    }
}
