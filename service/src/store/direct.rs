//! Connections for the hot path, without what a pool does between two uses.
//!
//! sqlx's pool asks a connection for a sign of life after each use. That is a round trip for every statement: the caller does
//! not wait for it, but both processes work for it. Here a connection goes back as it is when its statement was answered,
//! and is closed when it was not: broken off, or given up by whoever waited. Transactions have no place here.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement, Value, Values,
    sqlx::{self, AssertSqlSafe, Connection, Database, Executor, IntoArguments},
};
use sea_query_sqlx::SqlxValues;
use tokio::{sync::Semaphore, time::Instant};

use super::PoolUse;

/// How long a connection is waited for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause before a SQLite file that was busy is opened again.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// A connection that was idle for so long is tried before it is used: the server may have closed it.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(10);

/// The connections of one database.
#[derive(Debug)]
pub(super) enum Direct {
    Sqlite(Lane<sqlx::Sqlite>),
    Postgres(Lane<sqlx::Postgres>),
    MySql(Lane<sqlx::MySql>),
}

/// Connections of one kind.
#[derive(Debug)]
pub(super) struct Lane<DB: Database> {
    options: <DB::Connection as Connection>::Options,
    /// What is run on a connection when it is made.
    greeting: &'static [&'static str],
    /// How many may be used at once.
    permits: Semaphore,
    /// The same as a number.
    most: u32,
    /// Those that nobody uses, the one used last at the end. Never locked across an await.
    idle: Mutex<Vec<Idle<DB>>>,
}

/// A connection that nobody uses.
#[derive(Debug)]
struct Idle<DB: Database> {
    connection: DB::Connection,
    since: Instant,
}

impl<DB: Database> Lane<DB> {
    /// At most so many connections, made when they are needed.
    pub(super) fn new(
        options: <DB::Connection as Connection>::Options,
        greeting: &'static [&'static str],
        most: u32,
    ) -> Self {
        let most = most.max(1);
        let permits = Semaphore::new(usize::try_from(most).unwrap_or(1));
        Self { options, greeting, permits, most, idle: Mutex::default() }
    }

    fn usage(&self) -> PoolUse {
        let free = u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX);
        let idle = u32::try_from(self.idle().len()).unwrap_or(u32::MAX);
        PoolUse { pool: "hot", in_use: self.most.saturating_sub(free), idle, limit: self.most }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle<DB>>> {
        // A list of connections, changed by one push or pop: a panic elsewhere leaves nothing half done.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<DB: Database> Lane<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    SqlxValues: IntoArguments<DB>,
    QueryResult: From<DB::Row>,
    ExecResult: From<DB::QueryResult>,
{
    async fn connection(&self) -> Result<DB::Connection, DbErr> {
        let idle = self.idle().pop();
        if let Some(Idle { mut connection, since }) = idle
            && (since.elapsed() < TEST_AFTER_IDLE || connection.ping().await.is_ok())
        {
            return Ok(connection);
        }
        let connect = || async { DB::Connection::connect_with(&self.options).await.map_err(not_connected) };
        // Rare, and far larger than what is done with a connection that stands.
        let mut connection = Box::pin(patiently(connect)).await?;
        for greeting in self.greeting {
            connection.execute(*greeting).await.map_err(not_connected)?;
        }
        Ok(connection)
    }

    /// Lends a connection to `work`. It is kept if the database answered, be it with an error.
    async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut DB::Connection) -> Result<T, sqlx::Error>,
    ) -> Result<T, DbErr> {
        let connect = async {
            let permit = self.permits.acquire().await.map_err(|_| not_connected(sqlx::Error::PoolClosed))?;
            Ok((permit, self.connection().await?))
        };
        let (_permit, mut connection) = tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .unwrap_or_else(|_| Err(not_connected(sqlx::Error::PoolTimedOut)))?;
        let result = work(&mut connection).await;
        match &result {
            Ok(_) | Err(sqlx::Error::Database(_)) => {
                self.idle().push(Idle { connection, since: Instant::now() });
            }
            // The others go the same way: whatever broke this one has broken them too.
            Err(_) => self.idle().clear(),
        }
        result.map_err(|error| DbErr::Query(RuntimeErr::SqlxError(error.into())))
    }

    async fn query(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let (sql, values) = parts(statement);
        let work = async |connection: &mut DB::Connection| {
            sqlx::query_with(AssertSqlSafe(sql), SqlxValues(values)).fetch_all(connection).await
        };
        Ok(self.with(work).await?.into_iter().map(QueryResult::from).collect())
    }

    async fn run(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let (sql, values) = parts(statement);
        let work = async |connection: &mut DB::Connection| {
            sqlx::query_with(AssertSqlSafe(sql), SqlxValues(values)).execute(connection).await
        };
        Ok(self.with(work).await?.into())
    }
}

impl Lane<sqlx::Postgres> {
    /// Sends a query with values as the driver wants them, and reads all rows.
    pub(super) async fn fetch(
        &self,
        sql: &'static str,
        values: sqlx::postgres::PgArguments,
    ) -> Result<Vec<sqlx::postgres::PgRow>, DbErr> {
        self.with(async |connection| sqlx::query_with(sql, values).fetch_all(connection).await).await
    }
}

impl Lane<sqlx::MySql> {
    /// Sends a query with values as the driver wants them, and reads all rows.
    pub(super) async fn fetch(
        &self,
        sql: Arc<str>,
        values: sqlx::mysql::MySqlArguments,
    ) -> Result<Vec<sqlx::mysql::MySqlRow>, DbErr> {
        let sql = AssertSqlSafe(sql);
        self.with(async |connection| sqlx::query_with(sql, values).fetch_all(connection).await).await
    }
}

/// Connects. Another process that opens or leaves a SQLite file at this moment may have it to itself for an instant, in which
/// SQLite does not wait for it: then it is tried again, for as long as a connection is waited for.
pub(super) async fn patiently<T, F: Future<Output = Result<T, DbErr>>>(
    connect: impl Fn() -> F,
) -> Result<T, DbErr> {
    let until = Instant::now() + CONNECT_TIMEOUT;
    loop {
        match connect().await {
            Err(error) if is_busy(&error) && Instant::now() < until => tokio::time::sleep(BUSY_PAUSE).await,
            result => return result,
        }
    }
}

/// Whether another process has a SQLite file to itself just now.
pub(super) fn is_busy(error: &DbErr) -> bool {
    let (DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))) = error
    else {
        return false;
    };
    error.as_database_error().is_some_and(|error| {
        error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some()
            && error.code().as_deref() == Some("5")
    })
}

/// No connection could be made, so nothing was sent.
fn not_connected(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}

fn parts(statement: Statement) -> (String, Values) {
    (statement.sql, statement.values.unwrap_or(Values(Vec::<Value>::new())))
}

impl Direct {
    /// How these connections are used.
    pub(super) fn usage(&self) -> PoolUse {
        match self {
            Self::Sqlite(lane) => lane.usage(),
            Self::Postgres(lane) => lane.usage(),
            Self::MySql(lane) => lane.usage(),
        }
    }
}

#[async_trait]
impl ConnectionTrait for Direct {
    fn get_database_backend(&self) -> DatabaseBackend {
        match self {
            Self::Sqlite(_) => DatabaseBackend::Sqlite,
            Self::Postgres(_) => DatabaseBackend::Postgres,
            Self::MySql(_) => DatabaseBackend::MySql,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match self {
            Self::Sqlite(lane) => lane.run(statement).await,
            Self::Postgres(lane) => lane.run(statement).await,
            Self::MySql(lane) => lane.run(statement).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(Statement::from_string(self.get_database_backend(), sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(self.query_all_raw(statement).await?.into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match self {
            Self::Sqlite(lane) => lane.query(statement).await,
            Self::Postgres(lane) => lane.query(statement).await,
            Self::MySql(lane) => lane.query(statement).await,
        }
    }
}
