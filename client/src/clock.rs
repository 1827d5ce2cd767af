//! The clock that measures leases.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The longest sleep while a lease is watched. Timers stop while the machine is suspended, but the lease does not, so the
/// clock is read again at least this often.
pub(crate) const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// On Linux the monotonic clock stops while the machine is suspended, and this clock does not. On other systems the monotonic
/// clock is the best available.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// An instant on a clock that never steps and, on Linux, runs while the machine is suspended. All processes of a machine read
/// the same clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseInstant(Duration);

impl LeaseInstant {
    /// The current instant.
    pub fn now() -> Self {
        let time = clock_gettime(CLOCK);
        // The clock counts from the start of the machine, so it is never negative.
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
        Self(Duration::new(seconds, nanoseconds))
    }

    /// This instant plus `time`.
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// This instant minus `time`.
    #[must_use]
    pub fn minus(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(time))
    }

    /// The time from `earlier` to this instant; zero if this instant is the earlier one.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The time from now to this instant; zero if it has passed.
    pub fn remaining(self) -> Duration {
        self.since(Self::now())
    }

    /// Milliseconds since the clock's start, rounded down: the form for other processes of this machine.
    pub fn to_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// The instant of [`to_millis`](Self::to_millis).
    pub fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// Completes when the instant has passed, even if it passed while the machine was suspended.
    pub async fn passed(self) {
        loop {
            let remaining = self.remaining();
            if remaining.is_zero() {
                return;
            }
            tokio::time::sleep(remaining.min(LONGEST_SLEEP)).await;
        }
    }
}
