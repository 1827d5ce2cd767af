//! Rows of `permits`.

use sea_orm::QueryResult;

use super::{Cell, Reader};
use crate::{
    domain::{Body, Data, Grant, KeyId, Owner, Permit, RequestId, Timestamp, Token, Version},
    store::{Unreadable, Write},
};

/// The number of columns.
const PERMIT_CELLS: usize = 14;

/// The values of all columns, in their order.
pub(in super::super) fn permit_cells<'a>(id: &'a KeyId, permit: &'a Permit) -> [Cell<'a>; PERMIT_CELLS] {
    let grant = &permit.grant;
    [
        Cell::text(id.tenant.as_str()),
        Cell::text(id.key.as_str()),
        Cell::Int(Some(permit.slot)),
        Cell::uuid(grant.version.0),
        Cell::Flag(grant.chosen),
        Cell::big(grant.token.0),
        Cell::text(grant.owner.stored()),
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
pub(in super::super) fn changed_permits(write: &Write) -> impl Iterator<Item = &Permit> {
    let known: &[Permit] = match &write.change.state.body {
        Body::Semaphore(semaphore) => &semaphore.permits.known,
        Body::Mutex(_) | Body::Absent => &[],
    };
    known.iter().filter(|permit| write.change.permits.contains(&permit.slot))
}

/// A permit, from all columns but tenant and key.
pub(in super::super) fn read_permit(row: &QueryResult) -> Result<Permit, Unreadable> {
    let mut columns = Reader::from(row, 0);
    let slot = columns.get()?;
    let version = Version(columns.get()?);
    let chosen = columns.get()?;
    let token = Token(columns.get()?);
    let owner = Owner::trusted(&columns.get::<String>()?);
    let lease_ms = columns.get()?;
    let acquired_at = Timestamp(columns.get()?);
    let expires_at = Timestamp(columns.get()?);
    let released = columns.get()?;
    let request_id = RequestId(columns.get()?);
    let data = columns.get::<Option<String>>()?.as_deref().map(Data::trusted);
    let updated_at = Timestamp(columns.get()?);
    let grant = Grant {
        version,
        chosen,
        token,
        owner,
        lease_ms,
        acquired_at,
        expires_at,
        released,
        delete_on_release: false,
        request_id,
    };
    Ok(Permit { slot, grant, data, updated_at })
}
