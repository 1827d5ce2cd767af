//! The store over SeaORM: pools, statements, and how a statement is sent and counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use metrics::{Counter, Histogram, counter, histogram};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, QueryResult, Value};
use tokio::time::Instant;

use super::{
    Store, StoreError,
    classify::{Purpose, classify, timed_out},
    connect::{DatabaseOptions, Pools},
    dialect::Dialect,
    sql::Sql,
};

/// How long an answer of the database is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A database that speaks SQL.
#[derive(Debug)]
pub(super) struct SqlStore {
    pub(super) pools: Pools,
    pub(super) sql: Sql,
    pub(super) options: DatabaseOptions,
    pub(super) load: Operation,
    pub(super) commit: Operation,
    pub(super) membership: Operation,
    pub(super) offers: Operation,
    pub(super) list: Operation,
    pub(super) sweep: Operation,
    /// What `PRAGMA data_version` told the writer last: it changes when another process has written to the SQLite file. 0
    /// before it was asked.
    data_version: AtomicI64,
    /// Whether it has ever changed.
    others_noticed: AtomicBool,
}

/// Connects to a database. Its schema is not looked at: see [`Store::check_ready`].
pub async fn connect(options: &DatabaseOptions) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(SqlStore::connect(options).await?))
}

impl SqlStore {
    pub(super) async fn connect(options: &DatabaseOptions) -> Result<Self, StoreError> {
        let pools = Pools::connect(options).await?;
        let sql = Sql::new(pools.dialect);
        let store = Self {
            pools,
            sql,
            options: options.clone(),
            load: Operation::new("load"),
            commit: Operation::new("commit"),
            membership: Operation::new("membership"),
            offers: Operation::new("offers"),
            list: Operation::new("list"),
            sweep: Operation::new("sweep"),
            data_version: AtomicI64::new(0),
            others_noticed: AtomicBool::new(false),
        };
        let version = store.sql.dialect.sql("/* data_version */ SELECT {data_version}");
        let first = async {
            let rows = store.query(store.writer(), &store.membership, &version, []).await?;
            rows.first().map_or(Ok(()), |row| store.note_written_by(row, 0))
        };
        store.membership.run(Purpose::Read, first).await?;
        Ok(store)
    }

    /// Takes note of the SQLite file's version as the writer sees it, from a column of a row.
    pub(super) fn note_written_by(&self, row: &QueryResult, column: usize) -> Result<(), DbErr> {
        if self.sql.dialect == Dialect::Sqlite {
            let version = row.try_get_by_index(column)?;
            let before = self.data_version.swap(version, Ordering::Relaxed);
            if before != 0 && before != version {
                self.others_noticed.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Whether another process has written to this SQLite file since this one began.
    pub(super) fn noticed_others(&self) -> bool {
        self.others_noticed.load(Ordering::Relaxed)
    }

    /// Where reads go.
    pub(super) fn reader(&self) -> &DatabaseConnection {
        &self.pools.reader
    }

    /// Where writes go.
    pub(super) fn writer(&self) -> &DatabaseConnection {
        &self.pools.writer
    }

    /// Sends a query and reads all rows.
    pub(super) async fn query(
        &self,
        db: &impl ConnectionTrait,
        operation: &Operation,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<QueryResult>, DbErr> {
        operation.round_trips.increment(1);
        db.query_all_raw(self.sql.dialect.statement(sql, values)).await
    }

    /// Sends a statement, and answers how many rows it touched.
    pub(super) async fn execute(
        &self,
        db: &impl ConnectionTrait,
        operation: &Operation,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<u64, DbErr> {
        operation.round_trips.increment(1);
        Ok(db.execute_raw(self.sql.dialect.statement(sql, values)).await?.rows_affected())
    }
}

/// What the database is asked for, with its metrics.
pub(super) struct Operation {
    name: &'static str,
    pub(super) round_trips: Counter,
    duration: Histogram,
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Operation {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            round_trips: counter!("db_locks_database_round_trips_total", "operation" => name),
            duration: histogram!("db_locks_database_duration_seconds", "operation" => name),
        }
    }

    /// Does the work, in time, and counts how long it took and how it failed.
    pub(super) async fn run<T>(
        &self,
        purpose: Purpose,
        work: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, StoreError> {
        let since = Instant::now();
        let result = match tokio::time::timeout(ANSWER_TIMEOUT, work).await {
            Ok(result) => result.map_err(|error| classify(error, purpose)),
            Err(_) => Err(timed_out(purpose)),
        };
        self.duration.record(since.elapsed());
        if let Err(error) = &result {
            counter!(
                "db_locks_database_errors_total",
                "operation" => self.name,
                "kind" => error.kind()
            )
            .increment(1);
        }
        result
    }
}
