//! Time as the rules see it: the database's time, in milliseconds, and never exact.

/// A point of the database's clock, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This point plus a number of milliseconds, saturating.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this point; negative if this one comes first.
    pub const fn ms_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Bounds of the database's time at the moment of a decision.
///
/// A lease has ended only if it ended before `at_least`; a new lease starts at `at_most`. So nobody is granted a lock
/// early, and no lease is shorter than requested, however coarse the reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The database's clock shows this or later.
    pub at_least: Timestamp,
    /// The database's clock shows this or earlier.
    pub at_most: Timestamp,
}

impl Now {
    /// An exact reading of the database's clock, for tests and simulations.
    pub const fn exactly(at: i64) -> Self {
        Self { at_least: Timestamp(at), at_most: Timestamp(at) }
    }

    /// Whether a lease that ends at `end` has certainly ended.
    pub const fn is_past(&self, end: Timestamp) -> bool {
        self.at_least.0 >= end.0
    }
}
