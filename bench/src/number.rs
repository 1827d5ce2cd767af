//! Conversions between the kinds of numbers in measurements, each with its reason in one place.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A count as a floating-point number. Counts here stay far below 2^53, up to which this is exact.
#[expect(clippy::cast_precision_loss, reason = "counts of a measurement are far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// A length or an index as a 64-bit count.
pub(crate) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A count as an index.
pub(crate) fn index(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// A duration in whole nanoseconds.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A number that is unique in this process: a token for a peer whose clients choose their tokens.
pub(crate) fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A small, fast and repeatable sequence of pseudo-random numbers (splitmix64). It picks replicas and keys, which needs
/// no better one.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// A sequence that depends on nothing but the seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number of the sequence.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below the bound.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        index(self.next() % count(bound).max(1))
    }
}
