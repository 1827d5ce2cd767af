//! A batch as calls into SQLite: prepared statements, one row each, in one transaction.

use rusqlite::{Connection, Result, Statement};

use super::super::{
    Write,
    cells::{Cell, changed_permits, lock_cells, permit_cells, waiter_cells},
    rows::LockRow,
    sql::sqlite,
};
use crate::domain::{Timestamp, Token};

/// What a transaction brought.
#[derive(Debug)]
pub(super) struct Written {
    /// For each write its row's token; `None` where the write lost its race.
    pub(super) tokens: Vec<Option<Token>>,
    /// The time, read inside the transaction.
    pub(super) db_time: Timestamp,
    /// `PRAGMA data_version`: another value than last time if another connection has written meanwhile.
    pub(super) data_version: i64,
}

/// The statements of the connection that writes, prepared once.
pub(super) struct Statements<'c> {
    begin: Statement<'c>,
    commit: Statement<'c>,
    rollback: Statement<'c>,
    insert: Statement<'c>,
    update: Statement<'c>,
    waiter_gone: Statement<'c>,
    waiter_put: Statement<'c>,
    permit_put: Statement<'c>,
    permits_clear: Statement<'c>,
    now: Statement<'c>,
    data_version: Statement<'c>,
}

impl<'c> Statements<'c> {
    /// Prepares them; the tables have to be there.
    pub(super) fn prepare(connection: &'c Connection) -> Result<Self> {
        let prepare = |sql: &str| super::prepare(connection, sql);
        Ok(Self {
            begin: prepare("BEGIN IMMEDIATE")?,
            commit: prepare("COMMIT")?,
            rollback: prepare("ROLLBACK")?,
            insert: prepare(sqlite::INSERT)?,
            update: prepare(sqlite::UPDATE)?,
            waiter_gone: prepare(sqlite::WAITER_GONE)?,
            waiter_put: prepare(sqlite::WAITER_PUT)?,
            permit_put: prepare(sqlite::PERMIT_PUT)?,
            permits_clear: prepare(sqlite::PERMITS_CLEAR)?,
            now: prepare(&super::now())?,
            // Not as the table-valued function of this name: that one prepares the pragma anew each time.
            data_version: prepare("PRAGMA data_version")?,
        })
    }

    /// Takes the file's one right to write.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.begin.raw_execute().map(drop)
    }

    /// Gives up what was begun. Where SQLite has done so by itself there is nothing left to do.
    pub(super) fn roll_back(&mut self) {
        let _ = self.rollback.raw_execute();
    }

    /// Writes a batch into the transaction that was begun, and ends it: durable, or not at all.
    pub(super) fn write_and_commit(&mut self, writes: &[Write]) -> Result<Written> {
        let written = self.write_all(writes).and_then(|written| {
            self.commit.raw_execute()?;
            Ok(written)
        });
        if written.is_err() {
            self.roll_back();
        }
        written
    }

    fn write_all(&mut self, writes: &[Write]) -> Result<Written> {
        let tokens = writes.iter().map(|write| self.write(write)).collect::<Result<_>>()?;
        let db_time = self.now.query_row([], |row| row.get(0).map(Timestamp))?;
        let data_version = self.data_version.query_row([], |row| row.get(0))?;
        Ok(Written { tokens, db_time, data_version })
    }

    /// Writes a key's row and, if that was won, what hangs on it.
    fn write(&mut self, write: &Write) -> Result<Option<Token>> {
        let row = LockRow::of(write);
        let token = if row.prev_stamp.is_some() {
            bind(&mut self.update, &lock_cells(&row))?;
            (self.update.raw_execute()? > 0).then_some(Token(row.token))
        } else {
            bind(&mut self.insert, &lock_cells(&row))?;
            let mut rows = self.insert.raw_query();
            let token = rows.next()?.map(|row| row.get(0).map(Token)).transpose()?;
            // A statement that returns rows is done when it has no more of them.
            while rows.next()?.is_some() {}
            token
        };
        if token.is_some() {
            self.write_children(write)?;
        }
        Ok(token)
    }

    fn write_children(&mut self, write: &Write) -> Result<()> {
        let (change, id) = (&write.change, &write.change.id);
        if change.clear_permits {
            self.permits_clear.execute((id.tenant.as_str(), id.key.as_str()))?;
        }
        for (seq, waiter) in &change.waiters {
            match waiter {
                None => self.waiter_gone.execute((id.tenant.as_str(), id.key.as_str(), seq))?,
                Some(waiter) => {
                    bind(&mut self.waiter_put, &waiter_cells(id, waiter))?;
                    self.waiter_put.raw_execute()?
                }
            };
        }
        for permit in changed_permits(write) {
            bind(&mut self.permit_put, &permit_cells(id, permit))?;
            self.permit_put.raw_execute()?;
        }
        Ok(())
    }
}

/// Binds a row's cells to the parameters, in their order.
fn bind(statement: &mut Statement<'_>, cells: &[Cell<'_>]) -> Result<()> {
    for (index, cell) in (1..).zip(cells) {
        match cell {
            Cell::Text(value) => statement.raw_bind_parameter(index, value),
            Cell::Uuid(value) => {
                statement.raw_bind_parameter(index, value.as_ref().map(|uuid| uuid.as_bytes().as_slice()))
            }
            Cell::Bytes(value) => statement.raw_bind_parameter(index, value),
            Cell::Small(value) => statement.raw_bind_parameter(index, value),
            Cell::Int(value) => statement.raw_bind_parameter(index, value),
            Cell::Big(value) => statement.raw_bind_parameter(index, value),
            Cell::Flag(value) => statement.raw_bind_parameter(index, value),
        }?;
    }
    Ok(())
}
