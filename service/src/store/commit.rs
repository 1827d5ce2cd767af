//! Committing writes: each only if its key's row still bears the row version it was decided on.
//!
//! The common batch writes rows of `locks` and nothing else: one statement, one round trip, one commit. What hangs on the
//! rows is written for those writes only that won, in the same commit: on PostgreSQL in the same statement, elsewhere in a
//! transaction.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use sea_orm::{ConnectionTrait, DbErr, Value};
use uuid::Uuid;

use super::{
    Committed, DecideLocked, LoadRequest, StoreError, Write,
    cells::lock_cells,
    children::{Children, JsonRows},
    classify::Purpose,
    dialect::Dialect,
    pools::{AnyPool, AnyTransaction},
    rows::{LockRow, Row},
    sql::postgres,
    sql_store::{Operation, SqlStore},
};
use crate::domain::{Timestamp, Token};

/// What writing rows told: by row version the token of each row that now bears it, and the time if a row told it.
#[derive(Default)]
pub(super) struct Won {
    pub(super) tokens: FxHashMap<Uuid, Token>,
    pub(super) db_time: Option<Timestamp>,
}

impl Won {
    /// Takes what rows tell that begin with a row version that stands now, its token, and the time. One without a row version tells nothing.
    pub(super) fn read(&mut self, rows: &[impl Row]) -> Result<(), DbErr> {
        for row in rows {
            if let Some(row_version) = row.read(0)? {
                self.tokens.insert(row_version, Token(row.read(1)?));
                self.db_time = Some(Timestamp(row.read(2)?));
            }
        }
        Ok(())
    }

    /// Adds what another statement told.
    pub(super) fn extend(&mut self, other: Self) {
        self.tokens.extend(other.tokens);
        self.db_time = other.db_time.or(self.db_time);
    }

    fn has(&self, write: &Write) -> bool {
        self.tokens.contains_key(&write.row_version.0)
    }

    pub(super) fn committed(&self, writes: &[Write], db_time: Timestamp) -> Committed {
        let tokens = writes.iter().map(|write| self.tokens.get(&write.row_version.0).copied()).collect();
        Committed { tokens, db_time }
    }
}

impl SqlStore {
    pub(super) async fn commit_writes(&self, writes: Arc<Vec<Write>>) -> Result<Committed, StoreError> {
        if let Some(sqlite) = &self.sqlite {
            self.commit.round_trips.increment(1);
            return self.commit.run_sorted(Purpose::Write, sqlite.commit(writes)).await;
        }
        let writes = writes.as_slice();
        let work = async {
            let clears = writes.iter().any(|write| write.change.clear_permits);
            if let AnyPool::Postgres(pool) = self.hot_pool()
                && !clears
            {
                return self.commit_postgres(pool, writes).await;
            }
            let has_children = writes.iter().any(|write| write.change.has_children());
            if let (AnyPool::MySql(pool), Dialect::MariaDb, false) =
                (self.hot_pool(), self.sql.dialect, has_children)
            {
                let rows: Vec<_> = writes.iter().map(LockRow::of).collect();
                // Where a row was gone nothing was written; in a transaction the others are told from it.
                if let Some(won) = self.commit_mariadb(pool, &rows).await? {
                    let db_time = self.db_time(&won, self.hot_pool()).await?;
                    return Ok(won.committed(writes, db_time));
                }
            }
            self.commit_in_transaction(writes).await
        };
        // Boxed where it is made: everything around it would be moved with it.
        self.run_commit(Box::pin(work)).await
    }

    async fn commit_in_transaction(&self, writes: &[Write]) -> Result<Committed, DbErr> {
        let transaction = self.begin(self.hot_pool(), &self.commit).await?;
        let written = self.write_all(&transaction, writes).await;
        transaction.end(written).await
    }

    pub(super) async fn commit_under_lock(
        &self,
        load_requests: &[LoadRequest],
        decide: &mut DecideLocked<'_>,
    ) -> Result<(Vec<Write>, Committed), StoreError> {
        if let Some(sqlite) = &self.sqlite {
            self.commit.round_trips.increment(1);
            let work = sqlite.commit_locked(Box::pin(self.load_keys(load_requests)), decide);
            return self.commit.run_sorted(Purpose::Write, work).await;
        }
        let work = async {
            let transaction = self.begin(self.hot_pool(), &self.commit).await?;
            let written = self.write_under_lock(&transaction, load_requests, decide).await;
            transaction.end(written).await
        };
        self.run_commit(Box::pin(work)).await
    }

    /// Writes to a server, in time.
    async fn run_commit<T>(&self, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, StoreError> {
        let work = self.commit.run(Purpose::Write, work);
        match &self.pools.replication {
            Some(replication) => replication.commit(work).await,
            None => work.await,
        }
    }

    /// Locks the rows of the keys, decides and writes, inside a transaction.
    async fn write_under_lock(
        &self,
        transaction: &AnyTransaction<'_>,
        load_requests: &[LoadRequest],
        decide: &mut DecideLocked<'_>,
    ) -> Result<(Vec<Write>, Committed), DbErr> {
        if let Some(lock_row) = &self.sql.lock_row {
            for load_request in load_requests {
                let id = [load_request.id.tenant.as_str().into(), load_request.id.key.as_str().into()];
                self.query(transaction, &self.commit, lock_row, id).await?;
            }
        }
        let loaded = self.load_from(transaction, load_requests).await?;
        let db_time = loaded.db_time;
        // What cannot be read is found by the next load, which answers for it.
        let writes = loaded.all().map_or_else(Vec::new, |states| decide(states, db_time));
        if writes.is_empty() {
            return Ok((writes, Committed { tokens: Vec::new(), db_time }));
        }
        let committed = self.write_all(transaction, &writes).await?;
        Ok((writes, committed))
    }

    /// A transaction that will write, on a server. Its beginning and its end are counted as round trips.
    pub(super) async fn begin<'s>(
        &self,
        pool: &'s AnyPool,
        operation: &Operation,
    ) -> Result<AnyTransaction<'s>, DbErr> {
        operation.round_trips.increment(2);
        pool.begin().await
    }

    /// Writes everything, inside a transaction.
    async fn write_all(&self, db: &impl ConnectionTrait, writes: &[Write]) -> Result<Committed, DbErr> {
        let won = self.upsert(db, writes).await?;
        for write in writes.iter().filter(|write| write.change.clear_permits && won.has(write)) {
            let id = &write.change.id;
            let values = [id.tenant.as_str().into(), id.key.as_str().into()];
            self.execute(db, &self.commit, &self.sql.permits_clear, values).await?;
        }
        let children = Children::of(writes.iter().filter(|write| won.has(write)));
        self.write_children(db, &self.sql.waiters_gone, children.gone).await?;
        self.write_children(db, &self.sql.waiters_put, children.active).await?;
        self.write_children(db, &self.sql.permits_put, children.permits).await?;
        if self.sql.dialect == Dialect::Postgres && !children.notifications.is_empty() {
            let notify = "/* nudge */ SELECT count(pg_notify(x.v ->> 2, x.v ->> 3)) \
                         FROM json_array_elements($1::json) AS x (v)";
            self.query(db, &self.commit, notify, [Value::from(children.notifications.into_text())]).await?;
        }
        let db_time = self.db_time(&won, db).await?;
        Ok(won.committed(writes, db_time))
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
    pub(super) async fn upsert(&self, db: &impl ConnectionTrait, writes: &[Write]) -> Result<Won, DbErr> {
        let mut won = Won::default();
        let rows: Vec<_> = writes.iter().map(LockRow::of).collect();
        match self.sql.dialect {
            // Inside a transaction; batches go another way: see `store/postgres`.
            Dialect::Postgres => {
                for row in &rows {
                    let sql =
                        if row.prev_stamp.is_some() { postgres::UPDATE_ONE } else { postgres::INSERT_ONE };
                    won.read(
                        &self.query(db, &self.commit, sql, lock_cells(row).map(Value::from).to_vec()).await?,
                    )?;
                }
            }
            // Its batches go another way: see `store/sqlite`.
            Dialect::Sqlite => return Err(DbErr::Custom("SQLite has a writer of its own".to_owned())),
            Dialect::MariaDb => won = self.upsert_mariadb(db, &rows).await?,
            Dialect::MySql => won = self.upsert_mysql(db, &rows).await?,
        }
        Ok(won)
    }

    /// The time, asked for only where no row told it.
    pub(super) async fn db_time(&self, won: &Won, db: &impl ConnectionTrait) -> Result<Timestamp, DbErr> {
        match won.db_time {
            Some(db_time) => Ok(db_time),
            None => self.read_now(db).await,
        }
    }

    pub(super) async fn read_now(&self, db: &impl ConnectionTrait) -> Result<Timestamp, DbErr> {
        let rows = self.query(db, &self.load, &self.sql.now, []).await?;
        rows.first().map_or(Ok(Timestamp::default()), |row| row.try_get_by_index(0).map(Timestamp))
    }
}
