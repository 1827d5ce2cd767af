//! Views of rows, as lists show them.

use db_locks_entity::{locks, permits};

use crate::{
    domain::{
        DEFAULT_LEASE_MS, Data, Grant, LockView, Now, Owner, Permit, RequestId, SemaphoreView, Timestamp,
        Token, Version,
    },
    store::rows::{GrantCells, guard_of, is_guarded_semaphore, key_id},
};

/// The view of a lock's row; `None` if the row cannot be read. Such a lock is left out rather than shown as free.
pub(super) fn lock_view(row: &locks::Model, now: Timestamp) -> Option<LockView> {
    let now = Now { at_least: now, at_most: now };
    let guard = guard_of(row.kind)?;
    let grant = GrantCells {
        version: row.version,
        chosen: row.chosen,
        owner: row.owner.clone(),
        lease_ms: row.lease_ms,
        acquired_at: row.acquired_at_ms,
        expires_at: row.expires_at_ms,
        released: row.released,
        delete_on_release: row.delete_on_release,
        request_id: row.nonce,
    };
    let grant = grant.read(Token(row.token)).ok()?;
    Some(LockView {
        id: key_id(&row.tenant, &row.key),
        is_permit: false,
        held: grant.and_then(|grant| grant.held_view(guard, now)),
        fencing_token: Token(row.token),
        data: row.data.as_deref().map(Data::trusted),
        lease_ms: row.lease_ms.unwrap_or(DEFAULT_LEASE_MS),
        guarded: guard.is_on(),
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
