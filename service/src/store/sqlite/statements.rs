//! Prepared statements of a connection.

use rusqlite::{Connection, PrepFlags, Result, Statement};

use crate::{domain::Timestamp, store::dialect::Dialect};

/// Prepares a statement that is used as long as the connection.
pub(super) fn prepare<'c>(connection: &'c Connection, sql: &str) -> Result<Statement<'c>> {
    connection.prepare_with_flags(sql, PrepFlags::SQLITE_PREPARE_PERSISTENT)
}

/// Statements that are prepared with the first job: the tables may be created after the file was opened.
pub(super) struct Prepared<'c, S> {
    connection: &'c Connection,
    prepare: fn(&'c Connection) -> Result<S>,
    statements: Option<S>,
}

impl<'c, S> Prepared<'c, S> {
    pub(super) const fn new(connection: &'c Connection, prepare: fn(&'c Connection) -> Result<S>) -> Self {
        Self { connection, prepare, statements: None }
    }

    pub(super) fn get(&mut self) -> Result<&mut S> {
        let statements = match self.statements.take() {
            Some(statements) => statements,
            None => (self.prepare)(self.connection)?,
        };
        Ok(self.statements.insert(statements))
    }
}

/// The statements that every transaction needs.
pub(super) struct Transaction<'c> {
    connection: &'c Connection,
    begin: Statement<'c>,
    commit: Statement<'c>,
    rollback: Statement<'c>,
    now: Statement<'c>,
}

impl<'c> Transaction<'c> {
    /// Prepares transactions that begin with this statement.
    pub(super) fn prepare(connection: &'c Connection, begin: &str) -> Result<Self> {
        Ok(Self {
            connection,
            begin: prepare(connection, begin)?,
            commit: prepare(connection, "COMMIT")?,
            rollback: prepare(connection, "ROLLBACK")?,
            now: prepare(connection, &Dialect::Sqlite.sql("SELECT {now}"))?,
        })
    }

    pub(super) fn begin(&mut self) -> Result<()> {
        self.begin.raw_execute().map(drop)
    }

    /// Database time, read inside the transaction.
    pub(super) fn now(&mut self) -> Result<Timestamp> {
        self.now.query_row([], |row| row.get(0).map(Timestamp))
    }

    /// Commits if the work succeeded. Rolls back otherwise, or if the commit fails: a transaction that stays open would
    /// block all later ones.
    pub(super) fn end<T>(&mut self, result: Result<T>) -> Result<T> {
        let ended = result.and_then(|value| self.commit.raw_execute().map(|_| value));
        if ended.is_err() {
            self.roll_back();
        }
        ended
    }

    /// Rolls back. An error means that SQLite has done so by itself. If it has not, only the end of the connection, and so
    /// of the process, frees the file for others.
    pub(super) fn roll_back(&mut self) {
        let _ = self.rollback.raw_execute();
        assert!(self.connection.is_autocommit(), "SQLite did not end a transaction");
    }
}
