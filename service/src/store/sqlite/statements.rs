//! A batch as calls into SQLite: prepared statements, one row each, in one transaction.

use rusqlite::{Connection, PrepFlags, Result, Statement, ToSql};

use super::super::{
    Write,
    dialect::Dialect,
    rows::{LockRow, PlaceColumns},
    sql::sqlite,
};
use crate::domain::{Body, Data, KeyId, Permit, Timestamp, Token, Waiter};

/// What a transaction brought.
#[derive(Debug)]
pub(super) struct Written {
    /// For each write its row's token; `None` where the write lost its race.
    pub(super) tokens: Vec<Option<Token>>,
    /// The time, read inside the transaction.
    pub(super) told: Timestamp,
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
        let prepare = |sql: &str| connection.prepare_with_flags(sql, PrepFlags::SQLITE_PREPARE_PERSISTENT);
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
            now: prepare(&Dialect::Sqlite.sql("SELECT {now}"))?,
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
        let told = self.now.query_row([], |row| row.get(0).map(Timestamp))?;
        let data_version = self.data_version.query_row([], |row| row.get(0))?;
        Ok(Written { tokens, told, data_version })
    }

    /// Writes a key's row and, if that was won, what hangs on it.
    fn write(&mut self, write: &Write) -> Result<Option<Token>> {
        let row = LockRow::of(write);
        let token = if row.prev_stamp.is_some() {
            bind_lock(&mut self.update, &row)?;
            (self.update.raw_execute()? > 0).then_some(Token(row.token))
        } else {
            bind_lock(&mut self.insert, &row)?;
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
        let (working, id) = (&write.working, &write.working.id);
        if working.clear_permits {
            self.permits_clear.execute((id.tenant.as_str(), id.key.as_str()))?;
        }
        for (seq, waiter) in &working.waiters {
            match waiter {
                None => self.waiter_gone.execute((id.tenant.as_str(), id.key.as_str(), seq))?,
                Some(waiter) => put_waiter(&mut self.waiter_put, id, waiter)?,
            };
        }
        if let Body::Semaphore(semaphore) = &working.state.body {
            let changed = |permit: &&Permit| working.permits.contains(&permit.slot);
            for permit in semaphore.permits.known.iter().filter(changed) {
                put_permit(&mut self.permit_put, id, permit)?;
            }
        }
        Ok(())
    }
}

/// Binds parameters in their order.
fn bind<const N: usize>(statement: &mut Statement<'_>, values: [&dyn ToSql; N]) -> Result<()> {
    for (index, value) in (1..).zip(values) {
        statement.raw_bind_parameter(index, value)?;
    }
    Ok(())
}

/// The columns of `locks`, by the numbers that `INSERT` and `UPDATE` give them.
fn bind_lock(statement: &mut Statement<'_>, row: &LockRow<'_>) -> Result<()> {
    let grant = row.grant;
    bind(
        statement,
        [
            &row.tenant,
            &row.key,
            &row.stamp.as_bytes().as_slice(),
            &row.prev_stamp.as_ref().map(|stamp| stamp.as_bytes().as_slice()),
            &row.kind,
            &row.token,
            &row.data,
            &grant.map(|grant| grant.version.0.as_bytes().as_slice()),
            &grant.is_some_and(|grant| grant.chosen),
            &grant.map(|grant| grant.owner.as_str()),
            &row.lease_ms,
            &grant.map(|grant| grant.acquired_at.0),
            &grant.map(|grant| grant.expires_at.0),
            &grant.is_some_and(|grant| grant.released),
            &grant.is_some_and(|grant| grant.delete_on_release),
            &grant.map(|grant| grant.nonce.0),
            &row.ended,
            &row.max_size,
            &row.slots,
            &row.waiters,
            &row.next_seq,
            &row.created_at_ms,
            &row.updated_at_ms,
            &row.sweep_at_ms,
        ],
    )
}

fn put_waiter(statement: &mut Statement<'_>, id: &KeyId, waiter: &Waiter) -> Result<usize> {
    let place = PlaceColumns::of(&waiter.place);
    bind(
        statement,
        [
            &id.tenant.as_str(),
            &id.key.as_str(),
            &waiter.seq,
            &waiter.version.0.as_bytes().as_slice(),
            &waiter.chosen,
            &waiter.owner.as_str(),
            &waiter.lease_ms,
            &waiter.data.as_ref().map(Data::as_str),
            &waiter.replace_data,
            &waiter.delete_on_release,
            &place.replica.as_ref().map(|replica| replica.as_bytes().as_slice()),
            &place.nonce,
            &place.offered_until_ms,
            &place.detached_until_ms,
        ],
    )?;
    statement.raw_execute()
}

fn put_permit(statement: &mut Statement<'_>, id: &KeyId, permit: &Permit) -> Result<usize> {
    let grant = &permit.grant;
    bind(
        statement,
        [
            &id.tenant.as_str(),
            &id.key.as_str(),
            &permit.slot,
            &grant.version.0.as_bytes().as_slice(),
            &grant.chosen,
            &grant.token.0,
            &grant.owner.as_str(),
            &grant.lease_ms,
            &grant.acquired_at.0,
            &grant.expires_at.0,
            &grant.released,
            &grant.nonce.0,
            &permit.data.as_ref().map(Data::as_str),
            &permit.updated_at.0,
        ],
    )?;
    statement.raw_execute()
}
