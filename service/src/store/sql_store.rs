//! The store over SeaORM: pools, statements, and how a statement is sent and counted.

use std::{sync::Arc, time::Duration};

use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};
use tokio::{sync::Semaphore, time::Instant};

use super::{
    Store, StoreError,
    classify::{Purpose, classify, timed_out},
    disk::Disk,
    gate::WriteGate,
    pools::{AnyPool, Pools},
    ready::Readiness,
    sql::Sql,
    sqlite::{FileWatch, SqliteReader, SqliteWriter},
    url::DatabaseOptions,
    writer::{Writer, begin_patiently},
};

/// How long an answer of the database is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

const ROUND_TRIPS: &str = "db_locks_database_round_trips_total";
const DURATION: &str = "db_locks_database_duration_seconds";
const ERRORS: &str = "db_locks_database_errors_total";
/// The most lists that are read or wait for a connection. They take turns on the few connections that they may use.
const MOST_LISTS: usize = 1_000;

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
    /// Where batches go on SQLite.
    pub(super) sqlite: Option<SqliteWriter>,
    /// Where keys' rows come from on SQLite.
    pub(super) sqlite_reader: Option<SqliteReader>,
    /// The last answer to whether the database is ready.
    pub(super) readiness: Readiness,
    /// Whether its disk is full.
    pub(super) disk: Disk,
    /// One for each list that may be read or wait for its turn.
    pub(super) list_permits: Semaphore,
    /// What every write passes.
    pub(super) gate: WriteGate,
}

/// Connects to a database. Its schema is not looked at: see [`Store::check_ready`].
pub async fn connect(options: &DatabaseOptions) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(SqlStore::connect(options).await?))
}

impl SqlStore {
    pub(super) async fn connect(options: &DatabaseOptions) -> Result<Self, StoreError> {
        Operation::describe();
        let pools = Box::pin(Pools::connect(options)).await?;
        let sql = Sql::new(pools.dialect);
        let (sqlite, sqlite_reader, watch) = match options.sqlite_file() {
            Some(file) => {
                let writer = SqliteWriter::open(file.clone()).await?;
                let reader = SqliteReader::open(file.clone()).await?;
                let watch =
                    FileWatch::new(&file).map_err(|error| StoreError::FileReplaced(error.to_string()))?;
                (Some(writer), Some(reader), Some(watch))
            }
            None => (None, None, None),
        };
        Ok(Self {
            pools,
            sql,
            options: options.clone(),
            load: Operation::new("load"),
            commit: Operation::new("commit"),
            membership: Operation::new("membership"),
            offers: Operation::new("offers"),
            list: Operation::new("list"),
            sweep: Operation::new("sweep"),
            sqlite,
            sqlite_reader,
            readiness: Readiness::default(),
            disk: Disk::default(),
            list_permits: Semaphore::new(MOST_LISTS),
            gate: WriteGate::new(watch),
        })
    }

    /// For batches, loads and transactions.
    pub(super) const fn hot_pool(&self) -> &AnyPool {
        &self.pools.hot_pool
    }

    /// For lists, counts and sweeping.
    pub(super) const fn general_pool(&self) -> &AnyPool {
        &self.pools.general_pool
    }

    /// For beats, joins, reaping and readiness.
    pub(super) const fn membership_pool(&self) -> &AnyPool {
        &self.pools.membership_pool
    }

    /// Where writes other than batches go: on a server to this pool. On SQLite this waits for the file's write permit, which
    /// is kept until [`Writer::finish`]; there all of it is written, or nothing.
    pub(super) async fn writer<'s>(&'s self, server: &'s AnyPool) -> Result<Writer<'s>, DbErr> {
        let (Some(sqlite), Some(writer)) = (&self.sqlite, &self.pools.sqlite_writer) else {
            return Ok(Writer::Server(server));
        };
        let turn = sqlite.turn_of_rest().await;
        let writer = writer.clone();
        // In a task of its own: if whoever waits for it is cancelled, the transaction is rolled back by being dropped. A
        // `begin` that is cancelled itself would leave its connection inside a transaction that nobody knows of.
        let begun = tokio::spawn(async move { begin_patiently(&writer).await });
        let transaction = begun.await.map_err(|error| DbErr::Custom(error.to_string()))??;
        Ok(Writer::Sqlite { transaction: Box::new(transaction), turn })
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
    errors: [(&'static str, Counter); StoreError::KINDS.len()],
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
            round_trips: counter!(ROUND_TRIPS, "operation" => name),
            duration: histogram!(DURATION, "operation" => name),
            errors: StoreError::KINDS
                .map(|kind| (kind, counter!(ERRORS, "operation" => name, "kind" => kind))),
        }
    }

    /// Describes the metrics of all operations.
    fn describe() {
        describe_counter!(ROUND_TRIPS, "Statements sent to the database, by what they were for");
        describe_histogram!(
            DURATION,
            "How long the database took, the wait for a connection included, by what it was asked for"
        );
        describe_counter!(ERRORS, "Errors of the database, by what it was asked for and kind of error");
    }

    /// Does the work, in time, and counts how long it took and how it failed.
    pub(super) async fn run<T>(
        &self,
        purpose: Purpose,
        work: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, StoreError> {
        let sorted = async { work.await.map_err(|error| classify(error, purpose)) };
        self.run_sorted(purpose, sorted).await
    }

    /// The same where the errors are sorted already.
    pub(super) async fn run_sorted<T>(
        &self,
        purpose: Purpose,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let since = Instant::now();
        let result = match tokio::time::timeout(ANSWER_TIMEOUT, work).await {
            Ok(result) => result,
            Err(_) => Err(timed_out(purpose)),
        };
        self.duration.record(since.elapsed());
        if let Err(error) = &result {
            let kind = error.kind();
            match self.errors.iter().find(|(of, _)| *of == kind) {
                Some((_, errors)) => errors.increment(1),
                None => counter!(ERRORS, "operation" => self.name, "kind" => kind).increment(1),
            }
        }
        result
    }
}
