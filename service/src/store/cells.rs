//! Rows as cells, in the order of their table's columns: written down once, for every dialect's way to send them.

use sea_orm::Value;
use uuid::Uuid;

use super::{
    Write,
    rows::{LockRow, PlaceColumns},
};
use crate::domain::{Body, Data, KeyId, Permit, Waiter};

/// The value of one column. Times are epoch milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    Text(Option<&'a str>),
    Uuid(Option<Uuid>),
    Bytes(&'a [u8]),
    Small(i16),
    Int(Option<i32>),
    Big(Option<i64>),
    Flag(bool),
}

impl Cell<'_> {
    const fn text(value: &str) -> Cell<'_> {
        Cell::Text(Some(value))
    }

    const fn big(value: i64) -> Self {
        Self::Big(Some(value))
    }

    const fn uuid(value: Uuid) -> Self {
        Self::Uuid(Some(value))
    }
}

impl From<Cell<'_>> for Value {
    fn from(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Text(value) => Self::from(value),
            Cell::Uuid(value) => Self::from(value),
            Cell::Bytes(value) => Self::from(value),
            Cell::Small(value) => Self::from(value),
            Cell::Int(value) => Self::from(value),
            Cell::Big(value) => Self::from(value),
            Cell::Flag(value) => Self::from(value),
        }
    }
}

/// How many columns `locks` has.
pub(super) const LOCK_CELLS: usize = 24;
/// How many columns `waiters` has.
pub(super) const WAITER_CELLS: usize = 14;
/// How many columns `permits` has.
pub(super) const PERMIT_CELLS: usize = 14;

/// The columns of `locks`.
pub(super) fn lock_cells<'a>(row: &'a LockRow<'_>) -> [Cell<'a>; LOCK_CELLS] {
    let grant = row.grant;
    [
        Cell::text(row.tenant),
        Cell::text(row.key),
        Cell::uuid(row.row_version),
        Cell::Uuid(row.prev_stamp),
        Cell::Small(row.kind),
        Cell::big(row.token),
        Cell::Text(row.data),
        Cell::Uuid(grant.map(|grant| grant.version.0)),
        Cell::Flag(grant.is_some_and(|grant| grant.chosen)),
        Cell::Text(grant.map(|grant| grant.owner.as_str())),
        Cell::Big(row.lease_ms),
        Cell::Big(grant.map(|grant| grant.acquired_at.0)),
        Cell::Big(grant.map(|grant| grant.expires_at.0)),
        Cell::Flag(grant.is_some_and(|grant| grant.released)),
        Cell::Flag(grant.is_some_and(|grant| grant.delete_on_release)),
        Cell::Big(grant.map(|grant| grant.request_id.0)),
        Cell::Bytes(&row.ended),
        Cell::Int(row.max_size),
        Cell::Int(Some(row.slots)),
        Cell::big(row.waiters),
        Cell::big(row.next_seq),
        Cell::big(row.created_at_ms),
        Cell::big(row.updated_at_ms),
        Cell::Big(row.sweep_at_ms),
    ]
}

/// The columns of `waiters`.
pub(super) fn waiter_cells<'a>(id: &'a KeyId, waiter: &'a Waiter) -> [Cell<'a>; WAITER_CELLS] {
    let place = PlaceColumns::of(&waiter.place);
    [
        Cell::text(id.tenant.as_str()),
        Cell::text(id.key.as_str()),
        Cell::big(waiter.seq),
        Cell::uuid(waiter.version.0),
        Cell::Flag(waiter.chosen),
        Cell::text(waiter.owner.as_str()),
        Cell::big(waiter.lease_ms),
        Cell::Text(waiter.data.as_ref().map(Data::as_str)),
        Cell::Flag(waiter.replace_data),
        Cell::Flag(waiter.delete_on_release),
        Cell::Uuid(place.replica),
        Cell::Big(place.request_id),
        Cell::Big(place.offered_until_ms),
        Cell::Big(place.detached_until_ms),
    ]
}

/// The columns of `permits`.
pub(super) fn permit_cells<'a>(id: &'a KeyId, permit: &'a Permit) -> [Cell<'a>; PERMIT_CELLS] {
    let grant = &permit.grant;
    [
        Cell::text(id.tenant.as_str()),
        Cell::text(id.key.as_str()),
        Cell::Int(Some(permit.slot)),
        Cell::uuid(grant.version.0),
        Cell::Flag(grant.chosen),
        Cell::big(grant.token.0),
        Cell::text(grant.owner.as_str()),
        Cell::big(grant.lease_ms),
        Cell::big(grant.acquired_at.0),
        Cell::big(grant.expires_at.0),
        Cell::Flag(grant.released),
        Cell::big(grant.request_id.0),
        Cell::Text(permit.data.as_ref().map(Data::as_str)),
        Cell::big(permit.updated_at.0),
    ]
}

/// The permits that a write changes.
pub(super) fn changed_permits(write: &Write) -> impl Iterator<Item = &Permit> {
    let known: &[Permit] = match &write.change.state.body {
        Body::Semaphore(semaphore) => &semaphore.permits.known,
        Body::Mutex(_) | Body::Absent => &[],
    };
    known.iter().filter(|permit| write.change.permits.contains(&permit.slot))
}
