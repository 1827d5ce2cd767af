//! How a key's state becomes a row, and a row a state.

use sea_orm::{
    DbErr, QueryResult,
    sqlx::{self, MySql, Postgres, mysql::MySqlRow, postgres::PgRow},
};
use uuid::Uuid;

use super::{Unreadable, Write, ended};
use crate::domain::{
    Body, Data, Grant, KeyState, Mutex, Owner, Permit, Permits, Place, Queue, ReplicaId, RequestId,
    RowVersion, Semaphore, Timestamp, Token, Version, Waiter,
};

/// A tombstone, or a key without a row.
pub(super) const KIND_ABSENT: i16 = 0;
/// A mutex.
pub(super) const KIND_MUTEX: i16 = 1;
/// A semaphore.
pub(super) const KIND_SEMAPHORE: i16 = 2;

/// A row of `locks`, borrowed from the state it shows.
pub(super) struct LockRow<'a> {
    pub(super) tenant: &'a str,
    pub(super) key: &'a str,
    pub(super) row_version: Uuid,
    pub(super) prev_stamp: Option<Uuid>,
    pub(super) kind: i16,
    pub(super) token: i64,
    pub(super) data: Option<&'a str>,
    pub(super) grant: Option<&'a Grant>,
    pub(super) lease_ms: Option<i64>,
    pub(super) ended: Vec<u8>,
    pub(super) max_size: Option<i32>,
    pub(super) slots: i32,
    pub(super) waiters: i64,
    pub(super) next_seq: i64,
    pub(super) created_at_ms: i64,
    pub(super) updated_at_ms: i64,
    pub(super) sweep_at_ms: Option<i64>,
}

impl<'a> LockRow<'a> {
    /// The row that a write leaves.
    pub(super) fn of(write: &'a Write) -> Self {
        let (id, state) = (&write.change.id, &write.change.state);
        let mut row = Self {
            tenant: id.tenant.as_str(),
            key: id.key.as_str(),
            row_version: write.row_version.0,
            prev_stamp: write.prev.map(|row_version| row_version.0),
            kind: KIND_ABSENT,
            token: state.token.0,
            data: None,
            grant: None,
            lease_ms: None,
            ended: ended::encode(&state.ended),
            max_size: None,
            slots: 0,
            waiters: state.queue.len,
            next_seq: state.queue.next_seq,
            created_at_ms: state.created_at.0,
            updated_at_ms: state.updated_at.0,
            sweep_at_ms: None,
        };
        match &state.body {
            Body::Absent => row.sweep_at_ms = Some(row.updated_at_ms).filter(|_| row.waiters == 0),
            Body::Mutex(mutex) => {
                row.kind = KIND_MUTEX;
                row.data = mutex.data.as_ref().map(Data::as_str);
                row.grant = mutex.grant.as_ref();
                row.lease_ms = row.grant.map(|grant| grant.lease_ms);
                let goes = row.grant.filter(|grant| grant.delete_on_release && !grant.released);
                row.sweep_at_ms = goes.map(|grant| grant.expires_at.0);
            }
            Body::Semaphore(semaphore) => {
                row.kind = KIND_SEMAPHORE;
                row.lease_ms = Some(semaphore.lease_ms);
                row.max_size = Some(semaphore.max_size);
                row.slots = semaphore.permits.slots;
            }
        }
        row
    }
}

/// A value that every driver can read.
pub(super) trait Readable:
    sea_orm::TryGetable
    + rusqlite::types::FromSql
    + for<'r> sqlx::Decode<'r, Postgres>
    + sqlx::Type<Postgres>
    + for<'r> sqlx::Decode<'r, MySql>
    + sqlx::Type<MySql>
{
}

impl<T> Readable for T where
    T: sea_orm::TryGetable
        + rusqlite::types::FromSql
        + for<'r> sqlx::Decode<'r, Postgres>
        + sqlx::Type<Postgres>
        + for<'r> sqlx::Decode<'r, MySql>
        + sqlx::Type<MySql>
{
}

/// A row of an answer. Where a driver is used without SeaORM, its rows are read as they come.
pub(super) trait Row {
    /// The value of a column, counted from 0.
    fn read<T: Readable>(&self, index: usize) -> Result<T, DbErr>;
}

impl Row for QueryResult {
    fn read<T: Readable>(&self, index: usize) -> Result<T, DbErr> {
        self.try_get_by_index(index)
    }
}

impl Row for PgRow {
    fn read<T: Readable>(&self, index: usize) -> Result<T, DbErr> {
        // The statement names the type of each column; the driver would look it up for each value.
        sqlx::Row::try_get_unchecked(self, index).map_err(unreadable)
    }
}

impl Row for MySqlRow {
    fn read<T: Readable>(&self, index: usize) -> Result<T, DbErr> {
        sqlx::Row::try_get_unchecked(self, index).map_err(unreadable)
    }
}

impl Row for rusqlite::Row<'_> {
    fn read<T: Readable>(&self, index: usize) -> Result<T, DbErr> {
        self.get(index).map_err(unreadable)
    }
}

fn corrupt(what: &str) -> Unreadable {
    Unreadable(format!("a row has {what}"))
}

fn unreadable(error: impl std::error::Error) -> DbErr {
    DbErr::Custom(format!("a column cannot be read: {error}"))
}

/// Reads columns one after another.
struct Columns<'a, R> {
    row: &'a R,
    next: usize,
}

impl<'a, R: Row> Columns<'a, R> {
    const fn from(row: &'a R, first: usize) -> Self {
        Self { row, next: first }
    }

    fn get<T: Readable>(&mut self) -> Result<T, DbErr> {
        let value = self.row.read(self.next)?;
        self.next += 1;
        Ok(value)
    }

    fn skip(&mut self, columns: usize) {
        self.next += columns;
    }
}

/// The state that a row of `locks` shows, without what hangs on it. The columns begin at `first`; a row that is all NULL
/// is a key without one.
pub(super) fn read_state(row: &impl Row, first: usize) -> Result<KeyState, Unreadable> {
    let mut columns = Columns::from(row, first);
    columns.skip(2);
    let Some(row_version) = columns.get::<Option<Uuid>>()? else { return Ok(KeyState::absent()) };
    columns.skip(1);
    let kind: i16 = columns.get()?;
    let token = Token(columns.get()?);
    let data: Option<String> = columns.get()?;
    let version: Option<Uuid> = columns.get()?;
    let chosen = columns.get()?;
    let owner: Option<String> = columns.get()?;
    let lease_ms: Option<i64> = columns.get()?;
    let acquired_at: Option<i64> = columns.get()?;
    let expires_at: Option<i64> = columns.get()?;
    let released = columns.get()?;
    let delete_on_release = columns.get()?;
    let request_id: Option<i64> = columns.get()?;
    let ended: Vec<u8> = columns.get()?;
    let max_size: Option<i32> = columns.get()?;
    let slots = columns.get()?;
    let queue = Queue { len: columns.get()?, next_seq: columns.get()?, ..Queue::default() };
    let created_at = Timestamp(columns.get()?);
    let updated_at = Timestamp(columns.get()?);
    let body = match kind {
        KIND_MUTEX => {
            let grant = match (version, owner, lease_ms, acquired_at, expires_at, request_id) {
                (None, ..) => None,
                (
                    Some(version),
                    Some(owner),
                    Some(lease_ms),
                    Some(acquired_at),
                    Some(expires_at),
                    Some(request_id),
                ) if !owner.is_empty() => Some(Grant {
                    version: Version(version),
                    chosen,
                    token,
                    owner: Owner::trusted(&owner),
                    lease_ms,
                    acquired_at: Timestamp(acquired_at),
                    expires_at: Timestamp(expires_at),
                    released,
                    delete_on_release,
                    request_id: RequestId(request_id),
                }),
                _ => return Err(corrupt("a version without an owner, a lease, its times or its attachment")),
            };
            Body::Mutex(Mutex { data: data.as_deref().map(Data::trusted), grant })
        }
        KIND_SEMAPHORE => match (max_size, lease_ms) {
            (Some(max_size @ 1..), Some(lease_ms)) if slots >= 0 => Body::Semaphore(Semaphore {
                max_size,
                lease_ms,
                permits: Permits { slots, ..Permits::default() },
            }),
            _ => return Err(corrupt("a semaphore without a size or a lease")),
        },
        KIND_ABSENT => Body::Absent,
        unknown => return Err(corrupt(&format!("the unknown kind {unknown}"))),
    };
    let ended =
        ended::decode(&ended, updated_at).ok_or_else(|| corrupt("ended versions that cannot be read"))?;
    Ok(KeyState {
        row_version: Some(RowVersion(row_version)),
        body,
        token,
        ended,
        queue,
        created_at,
        updated_at,
    })
}

/// The columns of `waiters` that show a place.
pub(super) struct PlaceColumns {
    pub(super) replica: Option<Uuid>,
    pub(super) request_id: Option<i64>,
    pub(super) offered_until_ms: Option<i64>,
    pub(super) detached_until_ms: Option<i64>,
}

impl PlaceColumns {
    /// The columns that a place leaves.
    pub(super) fn of(place: &Place) -> Self {
        match place {
            Place::Attached { replica, request_id, offered_until } => Self {
                replica: Some(replica.0),
                request_id: Some(request_id.0),
                offered_until_ms: offered_until.map(|until| until.0),
                detached_until_ms: None,
            },
            Place::Detached { until } => Self {
                replica: None,
                request_id: None,
                offered_until_ms: None,
                detached_until_ms: Some(until.0),
            },
        }
    }
}

/// The columns of `permits` that show one.
pub(super) const PERMIT_COLUMNS: &str = "slot, version, chosen, token, owner, lease_ms, acquired_at_ms, expires_at_ms, \
                                         released, nonce, data, updated_at_ms";

/// A permit, from [`PERMIT_COLUMNS`].
pub(super) fn read_permit(row: &QueryResult) -> Result<Permit, Unreadable> {
    let mut columns = Columns::from(row, 0);
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

/// The columns of `waiters` (as `w`) that show one.
pub(super) const WAITER_COLUMNS: &str = "w.seq, w.version, w.chosen, w.owner, w.lease_ms, w.data, w.replace_data, \
                                         w.delete_on_release, w.replica, w.nonce, w.offered_until_ms, \
                                         w.detached_until_ms";

/// A waiter, from [`WAITER_COLUMNS`].
pub(super) fn read_waiter(row: &QueryResult) -> Result<Waiter, Unreadable> {
    let mut columns = Columns::from(row, 0);
    let seq = columns.get()?;
    let version = Version(columns.get()?);
    let chosen = columns.get()?;
    let owner = Owner::trusted(&columns.get::<String>()?);
    let lease_ms = columns.get()?;
    let data = columns.get::<Option<String>>()?.as_deref().map(Data::trusted);
    let replace_data = columns.get()?;
    let delete_on_release = columns.get()?;
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
        _ => return Err(corrupt("a waiter that is nowhere")),
    };
    Ok(Waiter { seq, version, chosen, owner, lease_ms, data, replace_data, delete_on_release, place })
}
