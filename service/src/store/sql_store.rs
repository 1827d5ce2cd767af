//! The store over SQL: its connections and statements, and how statements are sent.

use std::sync::{Arc, atomic::AtomicBool};

use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement, StatementBuilder, Value};
use tokio::sync::Semaphore;

use super::{
    Database, StoreError,
    classify::is_transient,
    disk::Disk,
    gate::WriteGate,
    lists::turns::Turns,
    operation::Operation,
    pools::Pools,
    routines,
    sql::Sql,
    sqlite::{FileWatch, SqliteReader, SqliteWriter},
    url::DatabaseOptions,
    writer::{AnyPool, Work, Writer},
};

/// The most tries of a transaction that may be repeated.
const MOST_TRIES: u32 = 3;

/// A database that speaks SQL.
#[derive(Debug)]
pub(super) struct SqlStore {
    pub(super) pools: Pools,
    pub(super) sql: Sql,
    pub(super) load: Operation,
    pub(super) commit: Operation,
    pub(super) membership: Operation,
    pub(super) offers: Operation,
    pub(super) list: Operation,
    pub(super) sweep: Operation,
    pub(super) tokens: Operation,
    /// Writes batches on SQLite.
    pub(super) sqlite: Option<SqliteWriter>,
    /// Reads keys' rows on SQLite.
    pub(super) sqlite_reader: Option<SqliteReader>,
    pub(super) disk: Disk,
    /// The turns of lists.
    pub(super) turns: Arc<Turns>,
    /// Refuses writes to a schema that this program does not know.
    pub(super) gate: WriteGate,
    /// Why no lock can be guarded here; `None` if locks can be guarded.
    pub(super) guard_refusal: Option<String>,
    /// One permit, for the search for the session that keeps a guard row locked: it makes a connection wait.
    pub(super) session_search: Semaphore,
    /// Whether the database does not let this program's user see sessions.
    pub(super) sessions_are_hidden: AtomicBool,
}

/// Connects to a database. This does not check its schema: see [`super::KeyStore::check_ready`].
pub async fn connect(options: &DatabaseOptions) -> Result<Arc<dyn Database>, StoreError> {
    Ok(Arc::new(SqlStore::connect(options).await?))
}

impl SqlStore {
    pub(super) async fn connect(options: &DatabaseOptions) -> Result<Self, StoreError> {
        Operation::describe();
        let pools = Box::pin(Pools::connect(options)).await?;
        let (sqlite, sqlite_reader, watch) = match options.sqlite_file() {
            Some(file) => {
                let writer = SqliteWriter::open(file.clone(), pools.epochs.clone()).await?;
                let reader = SqliteReader::open(file.clone()).await?;
                let watch =
                    FileWatch::new(&file).map_err(|error| StoreError::FileReplaced(error.to_string()))?;
                (Some(writer), Some(reader), Some(watch))
            }
            None => (None, None, None),
        };
        let turns = Turns::new(pools.general_pool.limit());
        let guard_refusal = routines::refusal(&pools.general_pool, pools.dialect).await;
        let disk = Disk::of(pools.dialect);
        let mut store = Self {
            guard_refusal,
            session_search: Semaphore::new(1),
            sessions_are_hidden: AtomicBool::new(false),
            sql: Sql::new(pools.dialect),
            pools,
            load: Operation::new("load"),
            commit: Operation::new("commit"),
            membership: Operation::new("membership"),
            offers: Operation::new("offers"),
            list: Operation::new("list"),
            sweep: Operation::new("sweep"),
            tokens: Operation::new("tokens"),
            sqlite,
            sqlite_reader,
            disk,
            turns,
            gate: WriteGate::new(watch),
        };
        if store.guard_refusal.is_none() {
            store.guard_refusal = store.try_row_locks().await;
        }
        if let Some(why) = &store.guard_refusal {
            tracing::warn!(why, "no lock can be guarded");
        }
        Ok(store)
    }

    /// For batches, loads and transactions.
    pub(super) const fn hot_pool(&self) -> &AnyPool {
        &self.pools.hot_pool
    }

    /// For lists, counts, sweeping and changes of tokens.
    pub(super) const fn general_pool(&self) -> &AnyPool {
        &self.pools.general_pool
    }

    /// For heartbeats of replicas, joins, reaping and readiness.
    pub(super) const fn membership_pool(&self) -> &AnyPool {
        &self.pools.membership_pool
    }

    /// Begins a transaction that writes. On a server, its begin and its end count as round trips. On SQLite this waits
    /// for the file's write permit, which the transaction keeps.
    pub(super) async fn begin<'s>(
        &'s self,
        pool: &'s AnyPool,
        operation: &Operation,
    ) -> Result<Writer<'s>, DbErr> {
        let (Some(sqlite), Some(writer)) = (&self.sqlite, &self.pools.sqlite_writer) else {
            operation.round_trips.increment(2);
            return pool.begin().await;
        };
        let write_permit = sqlite.exclusive_permit().await;
        Ok(Writer::Sqlite { transaction: writer.begin().await?, write_permit })
    }

    /// Runs `work` in a transaction. If the database asks to try again (a deadlock, for example), nothing was written, and the
    /// whole transaction is repeated a few times. `name` is for the log.
    pub(super) async fn transaction<'s, T>(
        &'s self,
        name: &'static str,
        pool: &'s AnyPool,
        operation: &'s Operation,
        work: impl for<'w> Fn(&'w Writer<'s>) -> Work<'w, T> + Send + Sync,
    ) -> Result<T, DbErr> {
        let mut tries = 1;
        loop {
            let writer = self.begin(pool, operation).await?;
            let result = work(&writer).await;
            match writer.end(result).await {
                Err(error) if tries < MOST_TRIES && is_transient(&error) => {
                    tracing::debug!(transaction = name, tries, %error, "repeating a transaction");
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    /// Runs statements that write: on SQLite in one transaction, which waits for the file once; on a server each by
    /// itself.
    pub(super) async fn write<'s, T>(
        &'s self,
        name: &'static str,
        pool: &'s AnyPool,
        operation: &'s Operation,
        work: impl for<'w> Fn(&'w Writer<'s>) -> Work<'w, T> + Send + Sync,
    ) -> Result<T, DbErr> {
        match &self.sqlite {
            Some(_) => self.transaction(name, pool, operation, work).await,
            None => work(&Writer::Pool(pool)).await,
        }
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

    /// Sends a statement and returns the number of rows that it changed.
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

    /// Sends a query over entities and reads all rows.
    pub(super) async fn select(
        &self,
        db: &impl ConnectionTrait,
        operation: &Operation,
        name: &str,
        query: &impl StatementBuilder,
    ) -> Result<Vec<QueryResult>, DbErr> {
        operation.round_trips.increment(1);
        db.query_all_raw(self.named(name, query)).await
    }

    /// Sends a statement that changes entities.
    pub(super) async fn change(
        &self,
        db: &impl ConnectionTrait,
        operation: &Operation,
        name: &str,
        query: &impl StatementBuilder,
    ) -> Result<(), DbErr> {
        operation.round_trips.increment(1);
        db.execute_raw(self.named(name, query)).await.map(drop)
    }

    /// A statement over entities, with a comment that names it in the database's own views of running statements.
    fn named(&self, name: &str, query: &impl StatementBuilder) -> Statement {
        let mut statement = self.sql.dialect.backend().build(query);
        statement.sql.insert_str(0, &format!("/* {name} */ "));
        statement
    }
}
