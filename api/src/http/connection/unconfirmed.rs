//! Grants whose answers are not written yet.

use std::{fmt, sync::Arc};

use db_locks_service::Delivery;

/// The grant of an answer, in the answer's extensions. Dropping it before it is confirmed releases the grant.
#[derive(Clone)]
pub(crate) struct Unconfirmed(Arc<Delivery>);

impl Unconfirmed {
    /// A grant whose answer is about to be sent.
    pub(crate) fn new(delivery: Delivery) -> Self {
        Self(Arc::new(delivery))
    }

    /// Gives the grant back at once: its caller must not have it any more.
    pub(in crate::http) fn withhold(self) {
        if let Some(delivery) = Arc::into_inner(self.0) {
            delivery.withhold();
        }
    }

    /// Confirms the grant: its answer was written to an open connection.
    pub(super) fn delivered(self) {
        // Nothing clones an answer's extensions, so this is the only reference.
        if let Some(delivery) = Arc::into_inner(self.0) {
            delivery.delivered();
        }
    }
}

impl fmt::Debug for Unconfirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unconfirmed")
    }
}
