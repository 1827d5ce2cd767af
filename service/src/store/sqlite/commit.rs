//! Writes a batch to SQLite: prepared statements, one row each, in one transaction.

use rusqlite::{Connection, Error, Result, Statement};

use super::{
    sql,
    statements::{Transaction, prepare},
};
use crate::{
    domain::{Body, Epoch, Timestamp, Token},
    store::{
        Write,
        rows::{Cell, LockRow, changed_permits, permit_cells, waiter_cells},
    },
};

/// The result of a transaction.
#[derive(Debug)]
pub(super) struct Written {
    /// For each write the token of its row; `None` if the write lost its race.
    pub(super) tokens: Vec<Option<Token>>,
    /// Database time, read inside the transaction.
    pub(super) db_time: Timestamp,
    /// `PRAGMA data_version`: it changes when another connection has written.
    pub(super) data_version: i64,
    /// The epoch of fencing tokens. Grants that were decided under an earlier epoch have lost their race.
    pub(super) epoch: Epoch,
}

/// The statements of the connection that writes.
pub(super) struct Statements<'c> {
    pub(super) transaction: Transaction<'c>,
    insert: Statement<'c>,
    update: Statement<'c>,
    waiter_gone: Statement<'c>,
    waiter_put: Statement<'c>,
    permit_put: Statement<'c>,
    permits_clear: Statement<'c>,
    guard_put: Statement<'c>,
    data_version: Statement<'c>,
    epoch: Statement<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> Result<Self> {
        let prepare = |sql: &str| prepare(connection, sql);
        Ok(Self {
            transaction: Transaction::prepare(connection, "BEGIN IMMEDIATE")?,
            insert: prepare(&sql::insert())?,
            update: prepare(&sql::update())?,
            waiter_gone: prepare(sql::WAITER_GONE)?,
            waiter_put: prepare(&sql::waiter_put())?,
            permit_put: prepare(&sql::permit_put())?,
            permits_clear: prepare(sql::PERMITS_CLEAR)?,
            guard_put: prepare(sql::GUARD_PUT)?,
            // The table-valued function of this name would prepare the pragma again each time.
            data_version: prepare("PRAGMA data_version")?,
            epoch: prepare("/* epoch */ SELECT epoch FROM db_locks_epoch WHERE id = 1")?,
        })
    }

    /// Writes a batch in the transaction that has begun, and ends the transaction. Everything becomes durable, or
    /// nothing.
    pub(super) fn write_and_commit(&mut self, writes: &[Write]) -> Result<Written> {
        let written = self.write_all(writes);
        self.transaction.end(written)
    }

    fn write_all(&mut self, writes: &[Write]) -> Result<Written> {
        let epoch = self.epoch.query_row([], |row| row.get(0))?;
        let epoch = Epoch::new(epoch).ok_or(Error::IntegralValueOutOfRange(0, epoch))?;
        let tokens = writes.iter().map(|write| self.write(write, epoch)).collect::<Result<_>>()?;
        let db_time = self.transaction.now()?;
        let data_version = self.data_version.query_row([], |row| row.get(0))?;
        Ok(Written { tokens, db_time, data_version, epoch })
    }

    /// Writes a key's row and, if the write won its race, the changes of its queue and permits.
    fn write(&mut self, write: &Write, epoch: Epoch) -> Result<Option<Token>> {
        if write.change.decided_under.is_some_and(|under| under < epoch) {
            return Ok(None);
        }
        let row = LockRow::of(write);
        let token = if row.is_known() {
            let changed = execute(&mut self.update, &row.cells())?;
            (changed > 0).then_some(write.change.state.token)
        } else {
            bind(&mut self.insert, &row.cells())?;
            let mut rows = self.insert.raw_query();
            let token = rows.next()?.map(|row| row.get(0).map(Token)).transpose()?;
            // A statement that returns rows is finished only when it has no more of them.
            while rows.next()?.is_some() {}
            token
        };
        if let Some(token) = token {
            self.write_guard(write, token)?;
            self.write_children(write)?;
        }
        Ok(token)
    }

    /// Writes the guard rows. No user's transaction that called the guard is open, since nobody else can write to the
    /// file now.
    fn write_guard(&mut self, write: &Write, token: Token) -> Result<()> {
        if !write.change.needs_guard_rows() {
            return Ok(());
        }
        let id = &write.change.id;
        for edit in write.change.guard_edits() {
            // Only a mutex's token may have been raised.
            let is_permit = matches!(write.change.state.body, Body::Semaphore(_));
            let token = if is_permit { edit.token } else { token };
            let version = edit.version.map(|version| version.0.into_bytes());
            let row = (id.tenant.as_str(), id.key.as_str(), edit.slot, version, token.0);
            self.guard_put.execute(row)?;
        }
        Ok(())
    }

    fn write_children(&mut self, write: &Write) -> Result<()> {
        let (change, id) = (&write.change, &write.change.id);
        if let Some(from) = change.cleared_from {
            self.permits_clear.execute((id.tenant.as_str(), id.key.as_str(), from))?;
        }
        for (seq, waiter) in &change.waiters {
            match waiter {
                None => self.waiter_gone.execute((id.tenant.as_str(), id.key.as_str(), seq))?,
                Some(waiter) => execute(&mut self.waiter_put, &waiter_cells(id, waiter))?,
            };
        }
        for permit in changed_permits(write) {
            execute(&mut self.permit_put, &permit_cells(id, permit))?;
        }
        Ok(())
    }
}

/// Writes a row. Returns the number of rows changed.
fn execute(statement: &mut Statement<'_>, cells: &[Cell<'_>]) -> Result<usize> {
    bind(statement, cells)?;
    statement.raw_execute()
}

/// Binds cells to the parameters in their order.
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
