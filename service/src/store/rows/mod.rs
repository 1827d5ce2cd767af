//! The states of keys as rows, and rows as states. Each table's columns are written and read in one place.

mod locks;
mod permits;
mod waiters;

use sea_orm::{
    DbErr, QueryResult, Value,
    sqlx::{self, MySql, Postgres, mysql::MySqlRow, postgres::PgRow},
};
use uuid::Uuid;

pub(super) use self::{
    locks::{
        ENDING, GrantCells, KIND_ABSENT, KIND_ENDING_HELD, LOCK_CELLS, LockRow, MUTEXES, ReadStates,
        SEMAPHORES, SWEEP_AT_ONCE, TOMBSTONES_FROM, guard_of, is_guarded_semaphore, read_state, read_states,
    },
    permits::{changed_permits, permit_cells, read_permit},
    waiters::{gone_cells, read_waiter, waiter_cells},
};
use super::Unreadable;
use crate::domain::{Key, KeyId, Tenant};

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

/// Passes the value of a cell to a driver's function that is generic over the value's type.
macro_rules! with_cell {
    ($cell:expr, $value:ident => $use:expr) => {
        match $cell {
            $crate::store::rows::Cell::Text($value) => $use,
            $crate::store::rows::Cell::Uuid($value) => $use,
            $crate::store::rows::Cell::Bytes($value) => $use,
            $crate::store::rows::Cell::Small($value) => $use,
            $crate::store::rows::Cell::Int($value) => $use,
            $crate::store::rows::Cell::Big($value) => $use,
            $crate::store::rows::Cell::Flag($value) => $use,
        }
    };
}
pub(super) use with_cell;

impl From<Cell<'_>> for Value {
    fn from(cell: Cell<'_>) -> Self {
        with_cell!(cell, value => Self::from(value))
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

/// A row of an answer: SeaORM's, or a driver's own where the driver is used without SeaORM.
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
        // The statement casts each column to its type; a checked read would look the type up for each value.
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

fn unreadable(error: impl std::error::Error) -> DbErr {
    DbErr::Custom(format!("a column cannot be read: {error}"))
}

fn corrupt(what: &str) -> Unreadable {
    Unreadable(format!("a row has {what}"))
}

/// Reads columns one after another.
struct Reader<'a, R> {
    row: &'a R,
    next: usize,
}

impl<'a, R: Row> Reader<'a, R> {
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

/// Tenant and key.
pub(super) fn key_id(tenant: &str, key: &str) -> KeyId {
    KeyId { tenant: Tenant::trusted(tenant), key: Key::trusted(key) }
}

/// A key from the first two columns.
pub(super) fn read_id(row: &QueryResult) -> Result<KeyId, DbErr> {
    let (tenant, key): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    Ok(key_id(&tenant, &key))
}

/// Reads the number that a query for a count returned.
pub(super) fn count(rows: &[QueryResult]) -> Result<i64, DbErr> {
    rows.first().map_or(Ok(0), |row| row.try_get_by_index(0))
}
