//! Everything random: versions, stamps, attachments, incarnations. No other place of the service mints any.

#![expect(clippy::disallowed_methods, reason = "the one place of the service that mints identities")]

use uuid::Uuid;

use crate::domain::{Nonce, ReplicaId, Stamp, Version};

fn random() -> Uuid {
    #[cfg(test)]
    if let Some(uuid) = crate::simulation::hooks::uuid() {
        return uuid;
    }
    Uuid::new_v4()
}

/// A version for a caller that chose none.
pub(super) fn version() -> Version {
    Version(random())
}

/// A stamp for a write.
pub(super) fn stamp() -> Stamp {
    Stamp(random())
}

/// An attachment. Never [`Nonce::NOBODY`]: the bits that make it a version 4 are not all zero.
pub(super) fn nonce(reentrant: bool) -> Nonce {
    let (high, _) = random().as_u64_pair();
    Nonce::new(high, reentrant)
}

/// An incarnation of this replica.
pub(super) fn replica() -> ReplicaId {
    ReplicaId(random())
}
