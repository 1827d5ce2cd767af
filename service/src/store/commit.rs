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
        self.writer().begin_with_options(options).await
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
            Dialect::Postgres => {
                let values = parameters::arrays(&rows);
                won.read(&self.query(db, &self.commit, &self.sql.upsert[0], values).await?)?;
            }
            Dialect::Sqlite => {
                let sizes = SQLITE_SIZES.iter().zip(&self.sql.upsert);
                let fitting = sizes.clone().find(|(size, _)| **size >= rows.len()).or(sizes.last());
                let (size, sql) = fitting.unwrap_or((&1, &self.sql.upsert[0]));
                let values = parameters::values(rows, *size);
                won.read(&self.query(db, &self.commit, sql, values).await?)?;
            }
            Dialect::MariaDb => {
                let values = [Value::from(parameters::json(&rows))];
                won.read(&self.query(db, &self.commit, &self.sql.upsert[0], values).await?)?;
            }
            Dialect::MySql => {
                let values = [Value::from(parameters::json(&rows))];
                self.execute(db, &self.commit, &self.sql.upsert[0], values).await?;
                let mut keys = JsonRows::default();
                for row in &rows {
                    keys.row().text(row.tenant).text(row.key).end();
                }
                let read_back = self.sql.read_back.as_deref().unwrap_or_default();
                let values = [Value::from(keys.into_text())];
                won.read(&self.query(db, &self.commit, read_back, values).await?)?;
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
