//! Rows of `waiters`.

use sea_orm::QueryResult;
use uuid::Uuid;

use super::{Cell, Reader, corrupt};
use crate::{
    domain::{
        Data, FutureHolder, KeyId, Owner, Place, ReplicaId, RequestId, Timestamp, Version, Waiter, WaiterData,
    },
    store::Unreadable,
};

/// The number of columns.
const WAITER_CELLS: usize = 14;

/// The values of all columns, in their order. Data that was not read is missing: the row of such a waiter exists, and only
/// the columns of its place change.
pub(in super::super) fn waiter_cells<'a>(id: &'a KeyId, waiter: &'a Waiter) -> [Cell<'a>; WAITER_CELLS] {
    let (replica, request_id, offered_until, detached_until) = match &waiter.place {
        Place::Attached { replica, request_id, offered_until } => {
            (Some(replica.0), Some(request_id.0), offered_until.map(|until| until.0), None)
        }
        Place::Detached { until } => (None, None, None, Some(until.0)),
    };
    let data = match &waiter.data {
        WaiterData::Read(data) => data.as_ref().map(Data::as_str),
        WaiterData::Unread(_) => None,
    };
    [
        Cell::text(id.tenant.as_str()),
        Cell::text(id.key.as_str()),
        Cell::big(waiter.seq),
        Cell::uuid(waiter.holder.version.0),
        Cell::Flag(waiter.holder.chosen),
        Cell::text(waiter.holder.owner.stored()),
        Cell::big(waiter.holder.lease_ms),
        Cell::Text(data),
        Cell::Flag(waiter.holder.replace_data),
        Cell::Flag(waiter.holder.delete_on_release),
        Cell::Uuid(replica),
        Cell::Big(request_id),
        Cell::Big(offered_until),
        Cell::Big(detached_until),
    ]
}

/// The values of a row that only identifies a waiter that leaves.
pub(in super::super) fn gone_cells(id: &KeyId, seq: i64) -> [Cell<'_>; WAITER_CELLS] {
    let (text, flag, uuid, big) = (Cell::Text(None), Cell::Flag(false), Cell::Uuid(None), Cell::Big(None));
    let (tenant, key) = (Cell::text(id.tenant.as_str()), Cell::text(id.key.as_str()));
    [tenant, key, Cell::big(seq), uuid, flag, text, big, text, flag, flag, uuid, big, big, big]
}

/// A waiter, from the columns that `sql::load::waiter_columns` lists.
pub(in super::super) fn read_waiter(row: &QueryResult) -> Result<Waiter, Unreadable> {
    let mut columns = Reader::from(row, 0);
    let seq = columns.get()?;
    let holder = FutureHolder {
        version: Version(columns.get()?),
        chosen: columns.get()?,
        owner: Owner::trusted(&columns.get::<String>()?),
        lease_ms: columns.get()?,
        replace_data: columns.get()?,
        delete_on_release: columns.get()?,
    };
    let replica: Option<Uuid> = columns.get()?;
    let request_id: Option<i64> = columns.get()?;
    let offered_until: Option<i64> = columns.get()?;
    let detached_until: Option<i64> = columns.get()?;
    let place = match (replica, request_id, detached_until) {
        (Some(replica), Some(request_id), _) => Place::Attached {
            replica: ReplicaId(replica),
            request_id: RequestId(request_id),
            offered_until: offered_until.map(Timestamp),
        },
        (None, _, Some(until)) => Place::Detached { until: Timestamp(until) },
        _ => return Err(corrupt("a waiter that is neither attached nor detached")),
    };
    let data = read_data(columns.get()?, columns.get()?);
    Ok(Waiter { seq, holder, data, place })
}

/// The data of a waiter, from the data, unless it is large, and its length.
fn read_data(data: Option<String>, bytes: Option<i32>) -> WaiterData {
    match (data, bytes) {
        (None, Some(bytes)) => WaiterData::Unread(usize::try_from(bytes).unwrap_or_default()),
        (data, _) => WaiterData::Read(data.as_deref().map(Data::trusted)),
    }
}
