//! Creates random versions, row versions, request ids and replica ids. Nothing else of the service that identifies something is random.

#![expect(clippy::disallowed_methods, reason = "the one place of the service that mints identities")]

use uuid::Uuid;

use crate::domain::{ReplicaId, RequestFlags, RequestId, RowVersion, Version};

fn random() -> Uuid {
    #[cfg(test)]
    if let Some(uuid) = crate::simulation::hooks::uuid() {
        return uuid;
    }
    Uuid::new_v4()
}

/// Creates a version for a caller that chose none.
pub(super) fn version() -> Version {
    Version(random())
}

/// Creates a row version for a write.
pub(super) fn row_version() -> RowVersion {
    RowVersion(random())
}

/// Creates a request id. It is never [`RequestId::NONE`]: the version bits of a UUID version 4 are not all zero.
pub(super) fn request_id(flags: RequestFlags) -> RequestId {
    let (high, _) = random().as_u64_pair();
    RequestId::new(high, flags)
}

/// Creates the identity of one incarnation of this replica.
pub(super) fn replica() -> ReplicaId {
    ReplicaId(random())
}
