//! Writes keys' rows to MariaDB and MySQL.
//!
//! A batch is one round trip. On MariaDB a batch without queues and permits is a statement with a list of values (see
//! `sql::Upserts`), on a node of a Galera cluster in a block (see `sql::block`). Any other batch is a transaction as one
//! text (see `batch`), on MariaDB in a block. A batch that does not succeed as a whole is written step by step. Guarded
//! keys are written in the same ways (see `guards`).
//!
//! A write that was decided on a row must not create one. If the row was gone, MariaDB's statement fails. Without a
//! binary log it has then undone itself. With a binary log, the rows that it wrote before stay, including the wrong
//! one, which nobody reads since it has a `prev_stamp`. So the rows are read back, a row that was created by mistake is
//! deleted, and the others are written one by one. On MySQL each list is read back.

use std::sync::Arc;

use sea_orm::{
    ConnectionTrait, DbErr, Value,
    sqlx::{Arguments, MySql, error::BoxDynError, mysql::MySqlArguments},
};

use super::{
    commit_guarded::unless_committed,
    error_number,
    sql::{Shape, Upserts},
};
use crate::{
    domain::Timestamp,
    store::{
        Write,
        children::keys_text,
        classify::is_transient,
        commit::WrittenRows,
        dialect::Dialect,
        fence::Fence,
        pool::Pool,
        rows::{Cell, LOCK_CELLS, LockRow, Row, with_cell},
        sql_store::SqlStore,
    },
};

/// The position of the token in a row of `locks`.
const TOKEN: usize = 5;
/// The column of a read-back that shows whether a write that was decided on a row has created it.
const CREATED: usize = 3;
/// The column with the time, in every answer.
const DB_TIME: usize = 2;
/// The error of MariaDB and MySQL for a number that is out of range.
const OUT_OF_RANGE: u16 = 1690;
/// The error for a row whose key exists already.
const DUPLICATE: u16 = 1062;
/// The error for a row that stayed locked until the lock timeout, which may be 0.
const LOCK_TIMEOUT: u16 = 1205;
/// MySQL's error for a locked row that a statement does not wait for.
const NOT_WAITED: u16 = 3572;

impl SqlStore {
    /// Writes a batch in one round trip. `None`: a write lost, or the server asks to try again, and nothing was written.
    pub(in super::super) async fn commit_mysql(
        &self,
        pool: &Pool<MySql>,
        writes: &[Write],
    ) -> Result<Option<WrittenRows>, DbErr> {
        let is_guarded = writes.iter().any(|write| write.change.needs_guard_rows());
        if is_guarded && let Some(written) = self.commit_mariadb_guarded(pool, writes).await? {
            return Ok(Some(written));
        }
        let rows: Vec<_> = writes.iter().map(LockRow::of).collect();
        let fence = self.pools.epochs.fence(writes);
        let has_children = writes.iter().any(|write| write.change.has_children());
        if self.sql.dialect == Dialect::MariaDb && !is_guarded && !has_children {
            return self.commit_mariadb(pool, &rows, fence).await;
        }
        let Some(text) = self.sql.mysql.batch.transaction(&rows) else { return Ok(None) };
        // Users' transactions can keep gaps between guard rows locked, and MySQL waits for a gap.
        let permit = if is_guarded { Some(pool.transaction_permit().await?) } else { None };
        self.commit.round_trips.increment(1);
        let answer = pool.run_transaction(text, fence).await;
        drop(permit);
        let is_block = self.sql.dialect == Dialect::MariaDb;
        let answer = match if is_block { answer.map_err(unless_committed) } else { answer } {
            Err(error) if has_lost(&error) || is_transient(&error) => return Ok(None),
            Err(error) if is_guarded && self.may_be_a_guard(&error) => return Ok(None),
            answer => answer?,
        };
        // The answer has the new rows, with the tokens that they were given.
        let mut written = WrittenRows::read(&answer)?;
        if let Some(row) = answer.first() {
            let known = rows.iter().filter(|row| row.is_known()).map(|row| row.write);
            written.add_all(known, Timestamp(row.read(DB_TIME)?));
        }
        Ok(Some(written))
    }

    /// Whether the error may be that of a locked guard row. MariaDB reports the same error for a key's row.
    fn may_be_a_guard(&self, error: &DbErr) -> bool {
        let locked = if self.sql.dialect == Dialect::MySql { NOT_WAITED } else { LOCK_TIMEOUT };
        error_number(error) == Some(locked)
    }

    /// Writes a batch on MariaDB in one statement. `None`: a row that was to be updated was gone, and nothing was
    /// written.
    async fn commit_mariadb(
        &self,
        pool: &Pool<MySql>,
        rows: &[LockRow<'_>],
        fence: Fence<'_>,
    ) -> Result<Option<WrittenRows>, DbErr> {
        let is_block = fence.is_galera();
        let list = Self::values_list(
            if is_block { &self.sql.mysql.upserts_in_blocks } else { &self.sql.mysql.upserts },
            rows,
        )?;
        let mut arguments = MySqlArguments::default();
        list.for_each(|cell| with_cell!(cell, value => arguments.add(value)))
            .map_err(|error: BoxDynError| DbErr::Custom(error.to_string()))?;
        self.commit.round_trips.increment(1);
        if is_block {
            let answer = pool.fetch_transaction(list.sql.clone(), arguments, fence).await;
            return written_unless_undone(answer.map_err(unless_committed));
        }
        written_unless_undone(pool.fetch(list.sql.clone(), arguments, fence).await)
    }

    /// Writes rows inside a transaction.
    pub(in super::super) async fn upsert_values(
        &self,
        db: &impl ConnectionTrait,
        rows: &[LockRow<'_>],
    ) -> Result<WrittenRows, DbErr> {
        if self.sql.dialect == Dialect::MySql {
            return self.upsert_mysql(db, rows).await;
        }
        if let Some(written) = self.upsert_mariadb(db, rows).await? {
            return Ok(written);
        }
        let mut written = self.read_back(db, rows).await?;
        for row in rows.iter().filter(|row| !written.contains(row.write)).collect::<Vec<_>>() {
            let row = std::slice::from_ref(row);
            written.extend(match self.upsert_mariadb(db, row).await? {
                Some(alone) => alone,
                None => self.read_back(db, row).await?,
            });
        }
        Ok(written)
    }

    async fn upsert_mariadb(
        &self,
        db: &impl ConnectionTrait,
        rows: &[LockRow<'_>],
    ) -> Result<Option<WrittenRows>, DbErr> {
        let list = Self::values_list(&self.sql.mysql.upserts, rows)?;
        written_unless_undone(self.query(db, &self.commit, &list.sql, list.values()).await)
    }

    async fn upsert_mysql(
        &self,
        db: &impl ConnectionTrait,
        rows: &[LockRow<'_>],
    ) -> Result<WrittenRows, DbErr> {
        let list = Self::values_list(&self.sql.mysql.upserts, rows)?;
        self.execute(db, &self.commit, &list.sql, list.values()).await?;
        self.read_back(db, rows).await
    }

    /// Reads which rows were written. Deletes a row that was created by a write that was decided on an existing row.
    async fn read_back(&self, db: &impl ConnectionTrait, rows: &[LockRow<'_>]) -> Result<WrittenRows, DbErr> {
        let keys = keys_text(rows.iter().map(|row| &row.write.change.id));
        let rows = self.query(db, &self.commit, &self.sql.mysql.read_back, [Value::from(keys)]).await?;
        let mut written = WrittenRows::default();
        for row in &rows {
            if !row.try_get_by_index::<bool>(CREATED)? {
                written.extend(WrittenRows::read(std::slice::from_ref(row))?);
                continue;
            }
            let undo =
                "/* undo */ DELETE FROM locks WHERE tenant = ? AND `key` = ? AND prev_stamp IS NOT NULL";
            let (tenant, key): (String, String) = (row.try_get("", "tenant")?, row.try_get("", "key")?);
            self.execute(db, &self.commit, undo, [tenant.into(), key.into()]).await?;
        }
        Ok(written)
    }

    /// The upsert of these rows, filled up with the last row to a number that has a statement.
    fn values_list<'r>(upserts: &Upserts, rows: &'r [LockRow<'r>]) -> Result<ValuesList<'r>, DbErr> {
        let shape = if rows.iter().all(LockRow::is_known) { Shape::Known } else { Shape::Mixed };
        let (size, sql) = upserts
            .of(shape, rows.len())
            .ok_or_else(|| DbErr::Custom(format!("there is no statement for {} rows", rows.len())))?;
        Ok(ValuesList { sql, shape, rows, size })
    }
}

/// Rows, and the statement that writes them.
struct ValuesList<'r> {
    sql: Arc<str>,
    shape: Shape,
    rows: &'r [LockRow<'r>],
    /// The number of rows that the statement takes.
    size: usize,
}

impl ValuesList<'_> {
    /// Passes on the statement's values in their order.
    fn for_each<E>(&self, mut put: impl FnMut(Cell<'_>) -> Result<(), E>) -> Result<(), E> {
        let fill = self.rows.last().into_iter().cycle();
        for row in self.rows.iter().chain(fill).take(self.size) {
            for (index, cell) in row.cells().into_iter().enumerate() {
                put(cell)?;
                if index == TOKEN && self.shape == Shape::Mixed {
                    put(cell)?;
                    let tenant = row.write.change.id.tenant.as_str();
                    put(Cell::Text((!row.is_known()).then_some(tenant)))?;
                }
            }
        }
        Ok(())
    }

    /// The values for SeaORM.
    fn values(&self) -> Vec<Value> {
        let mut values = Vec::with_capacity(self.size * (LOCK_CELLS + 2));
        let Ok(()) = self.for_each(|cell| {
            values.push(cell.into());
            Ok::<_, std::convert::Infallible>(())
        });
        values
    }
}

/// The writes that won; `None` if the statement failed because a row that was to be updated was gone.
fn written_unless_undone(written: Result<Vec<impl Row>, DbErr>) -> Result<Option<WrittenRows>, DbErr> {
    match written {
        Err(error) if has_lost(&error) => Ok(None),
        written => WrittenRows::read(&written?).map(Some),
    }
}

/// Whether a statement undid itself because a row was not as the write expected.
fn has_lost(error: &DbErr) -> bool {
    matches!(error_number(error), Some(OUT_OF_RANGE | DUPLICATE))
}
