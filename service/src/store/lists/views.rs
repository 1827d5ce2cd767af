//! Views of rows, as lists show them.

use db_locks_entity::{locks, permits};

use crate::{
    domain::{
        DEFAULT_LEASE_MS, Data, Grant, Guard, HeldView, LockView, Owner, Permit, RequestId, SemaphoreView,
        Timestamp, Token, Version,
    },
    store::rows::{KIND_ENDING_HELD, guard_of, is_guarded_semaphore, key_id},
};

/// The view of a lock's row; `None` if the row cannot be read. Such a lock is left out rather than shown as free.
pub(super) fn lock_view(row: &locks::Model, now: Timestamp) -> Option<LockView> {
    let held = match (row.version, &row.owner, row.acquired_at_ms, row.expires_at_ms) {
        (None, ..) => None,
        (Some(version), Some(owner), Some(acquired_at), Some(expires_at)) => Some(HeldView {
            version: Version(version),
            owner: Owner::trusted(owner),
            acquired_at: Timestamp(acquired_at),
            expires_at: Timestamp(expires_at),
            expires_in_ms: Ord::max(expires_at - now.0, 0),
            delete_on_release: row.delete_on_release,
        }),
        _ => return None,
    };
    let is_ending = row.kind == KIND_ENDING_HELD;
    let held = held.filter(|held| is_ending || (!row.released && held.expires_at > now));
    Some(LockView {
        id: key_id(&row.tenant, &row.key),
        is_permit: false,
        held,
        fencing_token: Token(row.token),
        data: row.data.as_deref().map(Data::trusted),
        lease_ms: row.lease_ms.unwrap_or(DEFAULT_LEASE_MS),
        guarded: guard_of(row.kind).is_some_and(Guard::is_on),
        waiters: row.waiters,
        created_at: Timestamp(row.created_at_ms),
        updated_at: Timestamp(row.updated_at_ms),
    })
}

pub(super) fn semaphore_view(row: &locks::Model, busy_count: i64) -> SemaphoreView {
    SemaphoreView {
        id: key_id(&row.tenant, &row.key),
        max_size: row.max_size.unwrap_or(1),
        guarded: is_guarded_semaphore(row.kind),
        busy_count,
        waiters: row.waiters,
        lease_ms: row.lease_ms.unwrap_or(DEFAULT_LEASE_MS),
        created_at: Timestamp(row.created_at_ms),
        updated_at: Timestamp(row.updated_at_ms),
    }
}

pub(super) fn permit_of(row: &permits::Model) -> Permit {
    Permit {
        slot: row.slot,
        grant: Grant {
            version: Version(row.version),
            chosen: row.chosen,
            token: Token(row.token),
            owner: Owner::trusted(&row.owner),
            lease_ms: row.lease_ms,
            acquired_at: Timestamp(row.acquired_at_ms),
            expires_at: Timestamp(row.expires_at_ms),
            released: row.released,
            delete_on_release: false,
            request_id: RequestId(row.nonce),
        },
        data: row.data.as_deref().map(Data::trusted),
        updated_at: Timestamp(row.updated_at_ms),
    }
}
