//! Commits writes, each only if its key's row still has the version that it was decided on.
//!
//! The common batch writes rows of `locks` and nothing else: one statement, one round trip, one commit. Queues, permits and guard
//! rows are written only for the writes that win, in the same commit: on PostgreSQL in the same statement, elsewhere in a
//! transaction.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, DbErr, Value};
use uuid::Uuid;

use super::{
    Committed, DecideLocked, LoadRequest, StoreError, Write,
    children::{Children, JsonRows},
    classify::Purpose,
    dialect::Dialect,
    operation::Operation,
    postgres::sql as postgres,
    rows::{LockRow, Row},
    sql_store::SqlStore,
    writer::AnyPool,
};
use crate::{
    SeededMap,
    domain::{Timestamp, Token},
};

/// The rows that statements have written: those of the writes that won their race.
#[derive(Default)]
pub(super) struct WrittenRows {
    /// The token of each row that now has the row version of a write, by row version.
    tokens: SeededMap<Uuid, Token>,
    /// Database time, if the statement returned a row.
    db_time: Option<Timestamp>,
}

impl WrittenRows {
    /// Reads rows of row version, token and database time. Skips rows without a row version.
    pub(super) fn read(rows: &[impl Row]) -> Result<Self, DbErr> {
        let mut written = Self::default();
        for row in rows {
            if let Some(row_version) = row.read(0)? {
                written.tokens.insert(row_version, Token(row.read(1)?));
                written.db_time = Some(Timestamp(row.read(2)?));
            }
        }
        Ok(written)
    }

    /// Records that all of these writes won, with the tokens that they were decided with.
    pub(super) fn add_all<'w>(&mut self, writes: impl Iterator<Item = &'w Write>, db_time: Timestamp) {
        self.tokens.extend(writes.map(|write| (write.row_version.0, write.change.state.token)));
        self.db_time = Some(db_time);
    }

    /// Adds the result of another statement.
    pub(super) fn extend(&mut self, other: Self) {
        self.tokens.extend(other.tokens);
        self.db_time = other.db_time.or(self.db_time);
    }

    /// The token in the row of a write; `None` if the write lost.
    pub(super) fn token(&self, write: &Write) -> Option<Token> {
        self.tokens.get(&write.row_version.0).copied()
    }

    pub(super) fn contains(&self, write: &Write) -> bool {
        self.tokens.contains_key(&write.row_version.0)
    }

    pub(super) fn committed(&self, writes: &[Write], db_time: Timestamp) -> Committed {
        let tokens = writes.iter().map(|write| self.token(write)).collect();
        Committed { tokens, db_time }
    }
}

impl SqlStore {
    pub(super) async fn commit_writes(&self, writes: Arc<Vec<Write>>) -> Result<Committed, StoreError> {
        if let Some(sqlite) = &self.sqlite {
            self.commit.round_trips.increment(1);
            return self.commit.run_classified(Purpose::Write, sqlite.commit(writes)).await;
        }
        let writes = writes.as_slice();
        let work = async {
            let is_guarded = writes.iter().any(|write| write.change.needs_guard_rows());
            let clears = writes.iter().any(|write| write.change.cleared_from.is_some());
            if let AnyPool::Postgres(pool) = self.hot_pool()
                && !clears
                && !is_guarded
            {
                return self.commit_postgres(pool, writes).await;
            }
            if let (AnyPool::Postgres(pool), true) = (self.hot_pool(), is_guarded)
                && let Some(committed) = self.commit_postgres_guarded(pool, writes).await?
            {
                return Ok(committed);
            }
            // `None`: the batch did not succeed as a whole, and nothing was written. A transaction finds out which
            // writes win.
            if let AnyPool::MySql(pool) = self.hot_pool()
                && let Some(written) = self.commit_mysql(pool, writes).await?
            {
                let db_time = self.db_time(&written, self.hot_pool()).await?;
                return Ok(written.committed(writes, db_time));
            }
            self.transaction("commit", self.hot_pool(), &self.commit, |db| {
                Box::pin(self.write_all(db, writes))
            })
            .await
        };
        // Boxed, since the futures around this one would be as large as it is, and they are moved.
        self.run_commit(&self.commit, Box::pin(work)).await
    }

    pub(super) async fn commit_under_lock(
        &self,
        load_requests: &[LoadRequest],
        decide: &mut DecideLocked<'_>,
    ) -> Result<(Vec<Write>, Committed), StoreError> {
        if let Some(sqlite) = &self.sqlite {
            self.commit.round_trips.increment(1);
            let work = sqlite.commit_locked(Box::pin(self.load_keys(load_requests)), decide);
            return self.commit.run_classified(Purpose::Write, work).await;
        }
        let work = async {
            // The store does not repeat this: the caller decides again after an error.
            let writer = self.begin(self.hot_pool(), &self.commit).await?;
            let written = self.write_under_lock(&writer, load_requests, decide).await;
            writer.end(written).await
        };
        self.run_commit(&self.commit, Box::pin(work)).await
    }

    /// Runs a commit on a server. On PostgreSQL the outcome is unknown if the commit did not reach its standby.
    pub(super) async fn run_commit<T>(
        &self,
        operation: &Operation,
        work: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, StoreError> {
        let work = operation.run(Purpose::Write, work);
        match &self.pools.replication {
            Some(replication) => replication.commit(work).await,
            None => work.await,
        }
    }

    /// Locks the rows of the keys, decides and writes, inside a transaction.
    async fn write_under_lock(
        &self,
        db: &impl ConnectionTrait,
        load_requests: &[LoadRequest],
        decide: &mut DecideLocked<'_>,
    ) -> Result<(Vec<Write>, Committed), DbErr> {
        for LoadRequest { id, .. } in load_requests {
            let id = [id.tenant.as_str().into(), id.key.as_str().into()];
            self.query(db, &self.commit, &self.sql.lock_key, id).await?;
        }
        let loaded = self.load_from(db, load_requests).await?;
        let db_time = loaded.db_time;
        let writes = loaded.decide(decide);
        if writes.is_empty() {
            return Ok((writes, Committed { tokens: Vec::new(), db_time }));
        }
        let committed = self.write_all(db, &writes).await?;
        Ok((writes, committed))
    }

    /// Writes keys, guard rows, permits, queues and notifications, inside a transaction.
    async fn write_all(&self, db: &impl ConnectionTrait, writes: &[Write]) -> Result<Committed, DbErr> {
        self.pools.epochs.fence(writes).pass_statement()?;
        let written = self.upsert(db, writes).await?;
        self.write_guards(db, writes, &written).await?;
        for write in writes.iter().filter(|write| written.contains(write)) {
            let Some(from) = write.change.cleared_from else { continue };
            let id = &write.change.id;
            let values = [id.tenant.as_str().into(), id.key.as_str().into(), from.into()];
            self.execute(db, &self.commit, &self.sql.children.permits_clear, values).await?;
        }
        let children = Children::of(writes.iter().filter(|write| written.contains(write)));
        self.write_children(db, &self.sql.children.waiters_gone, children.gone).await?;
        self.write_children(db, &self.sql.children.waiters_put, children.put).await?;
        self.write_children(db, &self.sql.children.permits_put, children.permits).await?;
        if self.sql.dialect == Dialect::Postgres {
            self.write_children(db, postgres::NOTIFY, children.notifications).await?;
        }
        let db_time = self.db_time(&written, db).await?;
        Ok(written.committed(writes, db_time))
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

    /// Writes keys' rows to a server, inside a transaction. Common batches on PostgreSQL and SQLite are written
    /// elsewhere.
    pub(super) async fn upsert(
        &self,
        db: &impl ConnectionTrait,
        writes: &[Write],
    ) -> Result<WrittenRows, DbErr> {
        let rows: Vec<_> = writes.iter().map(LockRow::of).collect();
        if self.sql.dialect != Dialect::Postgres {
            return self.upsert_values(db, &rows).await;
        }
        let mut written = WrittenRows::default();
        for row in &rows {
            let sql = if row.is_known() { &*postgres::UPDATE_ONE } else { &*postgres::INSERT_ONE };
            written.extend(WrittenRows::read(
                &self.query(db, &self.commit, sql, row.cells().map(Value::from)).await?,
            )?);
        }
        Ok(written)
    }

    /// Database time: from the rows that came back, or else by a query.
    pub(super) async fn db_time(
        &self,
        written: &WrittenRows,
        db: &impl ConnectionTrait,
    ) -> Result<Timestamp, DbErr> {
        match written.db_time {
            Some(db_time) => Ok(db_time),
            None => self.read_now(db).await,
        }
    }

    pub(super) async fn read_now(&self, db: &impl ConnectionTrait) -> Result<Timestamp, DbErr> {
        let rows = self.query(db, &self.load, &self.sql.now, []).await?;
        rows.first().map_or(Ok(Timestamp::default()), |row| row.try_get_by_index(0).map(Timestamp))
    }
}
