//! The state of a shard while the service stops.

use std::convert::Infallible;

use tokio::sync::mpsc;

/// How far the shard has stopped.
#[derive(Debug, Default)]
pub(super) enum Drain {
    /// The service runs.
    #[default]
    NotBegun,
    /// The service stops and waits for this shard, until the sender is dropped.
    UntilIdle(#[expect(dead_code, reason = "dropping it is the message")] mpsc::Sender<Infallible>),
    /// The service stops and no longer waits for this shard.
    Idle,
}

impl Drain {
    /// Whether the service stops.
    pub(super) const fn has_begun(&self) -> bool {
        !matches!(self, Self::NotBegun)
    }

    /// Notes that the shard has nothing to do.
    pub(super) fn note_idle(&mut self) {
        if matches!(self, Self::UntilIdle(_)) {
            *self = Self::Idle;
        }
    }
}
