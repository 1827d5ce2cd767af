//! Randomness: versions of grants, and jitter.

use std::time::Duration;

use uuid::Uuid;

/// A new random version.
#[expect(clippy::disallowed_methods, reason = "this is the client's one source of versions")]
pub(crate) fn version() -> Uuid {
    Uuid::new_v4()
}

/// A random time between nine tenths of `time` and `time`, so that clients that began together drift apart.
pub(crate) fn jitter(time: Duration) -> Duration {
    time.mul_f64(0.9 + 0.1 * fastrand::f64())
}
