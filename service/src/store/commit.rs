//! Committing writes: each only if its key's row still bears the stamp it was decided on.
//!
//! The common batch writes rows of `locks` and nothing else: one statement, one round trip, one commit. What hangs on the
//! rows is written for those writes only that won, in the same commit: on PostgreSQL in the same statement, elsewhere in a
//! transaction.

use rustc_hash::FxHashMap;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbErr, QueryResult, SqliteTransactionMode, TransactionOptions,
    Value,
};
use uuid::Uuid;

use super::{
    Committed, DecideLocked, StoreError, Want, Write,
    children::{Children, JsonRows},
    classify::Purpose,
    dialect::Dialect,
    parameters,
    rows::LockRow,
    sql::SQLITE_SIZES,
    sql_store::SqlStore,
};
use crate::domain::{Timestamp, Token};

/// What an upsert tells: by stamp the token of each row that now bears it, and the time if a row told it.
#[derive(Default)]
struct Won {
    tokens: FxHashMap<Uuid, Token>,
    told: Option<Timestamp>,
}

impl Won {
    fn read(&mut self, rows: &[QueryResult]) -> Result<(), DbErr> {
        for row in rows {
            self.told = Some(Timestamp(row.try_get_by_index(2)?));
            // A row without a stamp only tells the time.
            if let Some(stamp) = row.try_get_by_index::<Option<Uuid>>(0)? {
                self.tokens.insert(stamp, Token(row.try_get_by_index(1)?));
            }
        }
        Ok(())
    }

    /// SQLite's summary: one row, the stamps as hex digits with their tokens.
    fn read_summary(&mut self, rows: &[QueryResult]) -> Result<(), DbErr> {
        let Some(row) = rows.first() else { return Ok(()) };
        self.told = Some(Timestamp(row.try_get_by_index(1)?));
        let summary: Option<String> = row.try_get_by_index(0)?;
        for entry in summary.iter().flat_map(|summary| summary.split(' ')) {
            let parts = entry
                .split_once(':')
                .and_then(|(stamp, token)| Some((Uuid::try_parse(stamp).ok()?, token.parse().ok()?)));
            if let Some((stamp, token)) = parts {
                self.tokens.insert(stamp, Token(token));
            }
        }
        Ok(())
    }

    fn has(&self, write: &Write) -> bool {
        self.tokens.contains_key(&write.stamp.0)
    }

    fn committed(&self, writes: &[Write], told: Timestamp) -> Committed {
        let tokens = writes.iter().map(|write| self.tokens.get(&write.stamp.0).copied()).collect();
        Committed { tokens, told }
    }
}

impl SqlStore {
    pub(super) async fn commit_writes(&self, writes: &[Write]) -> Result<Committed, StoreError> {
        let work = async {
            let with_children = writes
                .iter()
                .any(|write| write.working.has_children() || !write.working.effects.nudged.is_empty());
            let clears = writes.iter().any(|write| write.working.clear_permits);
            if self.sql.dialect == Dialect::Sqlite && !clears {
                return self.commit_script(writes, with_children).await;
            }
            if !with_children {
                let won = self.upsert(self.writer(), writes).await?;
                let told = self.told(&won, self.writer()).await?;
                return Ok(won.committed(writes, told));
            }
            match self.sql.upsert_with_children {
                // Clearing permits and granting new ones cannot go into one statement: all its parts see the same rows.
                Some(sql) if !clears => self.upsert_with_children(sql, writes).await,
                Some(_) | None => {
                    let transaction = self.begin().await?;
                    let committed = self.write_all(&transaction, writes).await?;
                    self.commit.round_trips.increment(1);
                    transaction.commit().await?;
                    Ok(committed)
                }
            }
        };
        self.commit.run(Purpose::Write, work).await
    }

    pub(super) async fn commit_under_lock(
        &self,
        wants: &[Want],
        decide: &mut DecideLocked<'_>,
    ) -> Result<(Vec<Write>, Committed), StoreError> {
        let work = async {
            let transaction = self.begin().await?;
            if let Some(lock_row) = &self.sql.lock_row {
                for want in wants {
                    let id = [want.id.tenant.as_str().into(), want.id.key.as_str().into()];
                    self.query(&transaction, &self.commit, lock_row, id).await?;
                }
            }
            let loaded = self.load_from(&transaction, wants).await?;
            let writes = decide(loaded.states, loaded.told);
            if writes.is_empty() {
                transaction.rollback().await?;
                return Ok((writes, Committed { tokens: Vec::new(), told: loaded.told }));
            }
            let committed = self.write_all(&transaction, &writes).await?;
            transaction.commit().await?;
            Ok((writes, committed))
        };
        self.commit.run(Purpose::Write, work).await
    }

    /// A transaction that will write. On SQLite it is a writing one from the start: one that has read first could not
    /// become one when another process wrote meanwhile.
    pub(super) async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        use sea_orm::TransactionTrait;
        let immediate = (self.sql.dialect == Dialect::Sqlite).then_some(SqliteTransactionMode::Immediate);
        self.commit.round_trips.increment(1);
        let options =
            TransactionOptions { sqlite_transaction_mode: immediate, ..TransactionOptions::default() };
        // In a task of its own: if whoever waits for it is cancelled, the transaction is rolled back by being dropped. A
        // `begin` that is cancelled itself would leave its connection inside a transaction that nobody knows of.
        let writer = self.writer().clone();
        let begun = tokio::spawn(async move { writer.begin_with_options(options).await });
        begun.await.map_err(|error| DbErr::Custom(error.to_string()))?
    }

    /// A whole commit of SQLite in one piece.
    async fn commit_script(&self, writes: &[Write], with_children: bool) -> Result<Committed, DbErr> {
        let rows: Vec<_> = writes.iter().map(LockRow::of).collect();
        let index = sqlite_size(rows.len());
        let keys = keys_of(&rows);
        let mut values = parameters::values(rows, SQLITE_SIZES[index]);
        let (plain, full) = &self.sql.scripts[index];
        let script = if with_children {
            let children = Children::of(writes.iter());
            let parts = [children.gone, children.standing, children.permits];
            values.extend(parts.map(|part| Value::from(part.into_text())));
            full
        } else {
            plain
        };
        values.push(keys);
        let mut won = Won::default();
        match self.query(self.writer(), &self.commit, script, values).await {
            Ok(rows) => {
                won.read_summary(&rows)?;
                if let Some(row) = rows.first() {
                    self.note_written_by(row, 2)?;
                }
            }
            Err(error) => {
                // The script may have stopped inside its transaction. Where it has not, there is nothing to roll back.
                let _ = self.execute(self.writer(), &self.commit, "ROLLBACK", []).await;
                return Err(error);
            }
        }
        let told = won.told.unwrap_or_default();
        Ok(won.committed(writes, told))
    }

    async fn upsert_with_children(&self, sql: &str, writes: &[Write]) -> Result<Committed, DbErr> {
        let rows: Vec<_> = writes.iter().map(LockRow::of).collect();
        let children = Children::of(writes.iter());
        let mut values = parameters::arrays(&rows);
        let parts = [children.gone, children.standing, children.permits, children.nudges];
        values.extend(parts.map(|part| Value::from(part.into_text())));
        let mut won = Won::default();
        won.read(&self.query(self.writer(), &self.commit, sql, values).await?)?;
        let told = self.told(&won, self.writer()).await?;
        Ok(won.committed(writes, told))
    }

    /// Writes everything, inside a transaction.
    async fn write_all(&self, db: &impl ConnectionTrait, writes: &[Write]) -> Result<Committed, DbErr> {
        let won = self.upsert(db, writes).await?;
        for write in writes.iter().filter(|write| write.working.clear_permits && won.has(write)) {
            let id = &write.working.id;
            let values = [id.tenant.as_str().into(), id.key.as_str().into()];
            self.execute(db, &self.commit, &self.sql.permits_clear, values).await?;
        }
        let children = Children::of(writes.iter().filter(|write| won.has(write)));
        self.write_children(db, &self.sql.waiters_gone, children.gone).await?;
        self.write_children(db, &self.sql.waiters_put, children.standing).await?;
        self.write_children(db, &self.sql.permits_put, children.permits).await?;
        if self.sql.dialect == Dialect::Postgres && !children.nudges.is_empty() {
            let nudge = "/* nudge */ SELECT count(pg_notify(x.v ->> 2, x.v ->> 3)) \
                         FROM json_array_elements($1::json) AS x (v)";
            self.query(db, &self.commit, nudge, [Value::from(children.nudges.into_text())]).await?;
        }
        let told = self.told(&won, db).await?;
        Ok(won.committed(writes, told))
    }

    async fn write_children(
        &self,
        db: &impl ConnectionTrait,
        sql: &str,
        rows: JsonRows,
    ) -> Result<(), DbErr> {
        if !rows.is_empty() {
            self.execute(db, &self.commit, sql, [Value::from(rows.into_text())]).await?;
        }
        Ok(())
    }

    /// Writes the keys' rows.
    async fn upsert(&self, db: &impl ConnectionTrait, writes: &[Write]) -> Result<Won, DbErr> {
        let rows: Vec<_> = writes.iter().map(LockRow::of).collect();
        let mut won = Won::default();
        match self.sql.dialect {
            Dialect::Postgres if rows.len() == 1 => {
                let values = parameters::values(rows, 1);
                won.read(&self.query(db, &self.commit, &self.sql.upsert[1], values).await?)?;
            }
            Dialect::Postgres => {
                let values = parameters::arrays(&rows);
                won.read(&self.query(db, &self.commit, &self.sql.upsert[0], values).await?)?;
            }
            Dialect::Sqlite => {
                let index = sqlite_size(rows.len());
                let keys = keys_of(&rows);
                let values = parameters::values(rows, SQLITE_SIZES[index]);
                self.execute(db, &self.commit, &self.sql.upsert[index], values).await?;
                let read_back = self.sql.read_back.as_deref().unwrap_or_default();
                won.read_summary(&self.query(db, &self.commit, read_back, [keys]).await?)?;
            }
            Dialect::MariaDb => {
                let values = [Value::from(parameters::json(&rows))];
                won.read(&self.query(db, &self.commit, &self.sql.upsert[0], values).await?)?;
            }
            Dialect::MySql => {
                let values = [Value::from(parameters::json(&rows))];
                self.execute(db, &self.commit, &self.sql.upsert[0], values).await?;
                let read_back = self.sql.read_back.as_deref().unwrap_or_default();
                won.read(&self.query(db, &self.commit, read_back, [keys_of(&rows)]).await?)?;
            }
        }
        Ok(won)
    }

    /// The time, asked for only where no row told it.
    async fn told(&self, won: &Won, db: &impl ConnectionTrait) -> Result<Timestamp, DbErr> {
        match won.told {
            Some(told) => Ok(told),
            None => self.read_now(db).await,
        }
    }

    pub(super) async fn read_now(&self, db: &impl ConnectionTrait) -> Result<Timestamp, DbErr> {
        let rows = self.query(db, &self.load, &self.sql.now, []).await?;
        rows.first().map_or(Ok(Timestamp::default()), |row| row.try_get_by_index(0).map(Timestamp))
    }
}

/// Which of [`SQLITE_SIZES`] so many rows go into.
fn sqlite_size(rows: usize) -> usize {
    SQLITE_SIZES.iter().position(|size| *size >= rows).unwrap_or(SQLITE_SIZES.len() - 1)
}

/// The keys of these rows as one JSON text.
fn keys_of(rows: &[LockRow<'_>]) -> Value {
    let mut keys = JsonRows::default();
    for row in rows {
        keys.row().text(row.tenant).text(row.key).end();
    }
    Value::from(keys.into_text())
}
