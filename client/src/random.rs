//! Randomness: versions of grants, and jitter.

use std::time::Duration;

use uuid::Uuid;

/// A version that nobody chose before.
#[expect(clippy::disallowed_methods, reason = "this is the client's one source of versions")]
pub(crate) fn version() -> Uuid {
    Uuid::new_v4()
}

/// Between nine tenths and the whole of `time`, so that clients that began together do not stay together.
pub(crate) fn jitter(time: Duration) -> Duration {
    time.mul_f64(0.9 + 0.1 * fastrand::f64())
}
