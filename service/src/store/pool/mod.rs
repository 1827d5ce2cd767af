//! Pools of connections to a database.
//!
//! sqlx's pool pings a connection after each use: a round trip for every statement. The caller does not wait for it, but both
//! processes work for it. Here a connection goes back to its pool when its statement was answered, and is closed when it was
//! not: because it broke, or the caller gave up. What one connection's failure says about the others is in [`Health`].

mod connect;
mod transaction;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use sea_orm::{
    DbErr, ExecResult, QueryResult, RuntimeErr, Statement, Value, Values,
    error::ConnAcquireErr,
    sqlx::{self, AssertSqlSafe, Connection, Executor, IntoArguments},
};
use sea_query_sqlx::SqlxValues;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};

pub(super) use self::{
    connect::{CONNECT_TIMEOUT, not_connected, retry_while_busy},
    transaction::Transaction,
};
use super::{
    classify::{Reaction, reaction},
    fence::Fence,
    health::Health,
    servers::Servers,
    session::{Driver, Session},
};

/// A connection that was idle for so long is tested before it is used: the server may have closed it.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(10);
/// How long a tested connection may take to answer. One that is slower is replaced, which costs little more.
const TEST_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a server may take to hear that a connection ends.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(100);

/// Size and time limits of a pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolOptions {
    /// The most connections.
    pub(super) connections: usize,
    /// The most of them that may be inside of transactions at a time.
    pub(super) transactions: usize,
    /// How long a connection that others use is waited for.
    pub(super) wait_timeout: Duration,
    /// How long an answer is waited for.
    pub(super) answer_timeout: Duration,
}

/// Connections of one kind, made when they are needed.
pub(super) struct Pool<DB: Driver> {
    servers: Arc<Servers<DB>>,
    session: Session,
    wait_timeout: Duration,
    answer_timeout: Duration,
    /// The most connections.
    connections: usize,
    /// One for each connection that may be in use.
    permits: Semaphore,
    /// One for each of them that may be inside of a transaction.
    transaction_permits: Semaphore,
    /// Connections that nobody uses, the one used last at the end. Never locked across an await.
    idle: Mutex<Vec<Pooled<DB>>>,
    /// How many connections were opened so far.
    opened: AtomicU64,
    health: Arc<Health>,
}

/// A connection of a pool.
struct Pooled<DB: Driver> {
    connection: DB::Connection,
    opened: Instant,
    /// When it is not used any more.
    expires: Instant,
    /// When the database last answered on it.
    answered: Instant,
    /// When it was last tested, or made.
    tested: Instant,
}

/// A connection in use, closed unless it is given back.
struct Lease<'p, DB: Driver> {
    pool: &'p Pool<DB>,
    pooled: Pooled<DB>,
    /// Whether it can be used again: the database answered the last statement, and the session goes on.
    is_sound: bool,
    _permit: SemaphorePermit<'p>,
}

/// A statement under way. If it is dropped before its answer came, the pool distrusts its connections.
struct Unanswered<'p> {
    health: &'p Health,
    sent: Instant,
    answered: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.health.note_silence(self.sent);
        }
    }
}

impl<DB: Driver> std::fmt::Debug for Pool<DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("session", &self.session).finish_non_exhaustive()
    }
}

impl<DB: Driver> Pool<DB> {
    /// An empty pool.
    pub(super) fn new(servers: Arc<Servers<DB>>, session: Session, size: PoolOptions) -> Self {
        Self {
            health: servers.health().clone(),
            servers,
            session,
            wait_timeout: size.wait_timeout,
            answer_timeout: size.answer_timeout,
            connections: size.connections,
            permits: Semaphore::new(size.connections),
            transaction_permits: Semaphore::new(size.transactions),
            idle: Mutex::default(),
            opened: AtomicU64::new(0),
        }
    }

    /// How many connections are in use, how many are idle, and how many there may be.
    pub(super) fn usage(&self) -> (usize, usize, usize) {
        let in_use = self.connections.saturating_sub(self.permits.available_permits());
        (in_use, self.idle().len(), self.connections)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Pooled<DB>>> {
        // A list of connections, changed by one push or pop: a panic elsewhere leaves nothing half done.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection, idle or new.
    async fn lease(&self) -> Result<Lease<'_, DB>, DbErr> {
        let permit = self.permit_of(&self.permits).await?;
        let idle = self.idle().pop();
        let pooled = match idle {
            Some(pooled) if self.is_fresh(&pooled) => pooled,
            // Rare, and far larger than what is done with a connection that is at hand.
            idle => Box::pin(self.other_connection(idle)).await?,
        };
        Ok(Lease { pool: self, pooled, is_sound: true, _permit: permit })
    }

    /// Waits for a permit, for as long as the pool waits for one.
    async fn permit_of<'p>(&self, permits: &'p Semaphore) -> Result<SemaphorePermit<'p>, DbErr> {
        if let Ok(permit) = permits.try_acquire() {
            return Ok(permit);
        }
        let permit = timeout(self.wait_timeout, permits.acquire()).await;
        let permit = permit.map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))?;
        permit.map_err(|_| not_connected(sqlx::Error::PoolClosed))
    }

    /// Whether a connection can be used without asking anybody.
    fn is_fresh(&self, pooled: &Pooled<DB>) -> bool {
        !Self::needs_test(pooled) && self.is_usable(pooled)
    }

    fn needs_test(pooled: &Pooled<DB>) -> bool {
        pooled.answered.elapsed() >= TEST_AFTER_IDLE || pooled.tested.elapsed() >= DB::TEST_EVERY
    }

    fn is_usable(&self, pooled: &Pooled<DB>) -> bool {
        Instant::now() < pooled.expires && self.health.trusts(pooled.opened, pooled.answered)
    }

    /// Tests idle connections, this one first, and makes a new one if none is left.
    async fn other_connection(&self, first: Option<Pooled<DB>>) -> Result<Pooled<DB>, DbErr> {
        let mut next = first;
        while let Some(mut pooled) = next {
            if self.is_usable(&pooled) {
                if !Self::needs_test(&pooled) || self.passes_test(&mut pooled).await {
                    return Ok(pooled);
                }
            } else if self.health.trusts(pooled.opened, pooled.answered) {
                // It is too old. A server that does not hear of its end logs a warning, and that is all.
                let _ = timeout(CLOSE_TIMEOUT, pooled.connection.close()).await;
            }
            next = self.idle().pop();
        }
        self.new_connection().await
    }

    /// Whether a connection still answers, and leads to a server that accepts writes. If not, those that were idle for longer
    /// are not trusted either.
    async fn passes_test(&self, pooled: &mut Pooled<DB>) -> bool {
        let test = timeout(TEST_TIMEOUT, DB::test(&self.session, &mut pooled.connection)).await;
        match test {
            Ok(Ok(())) => {
                pooled.answered = Instant::now();
                pooled.tested = pooled.answered;
                return true;
            }
            Ok(Err(error)) if reaction(&error) == Reaction::CloseAll => self.health.note_read_only(),
            Ok(Err(_)) | Err(_) => self.health.note_silence(pooled.answered),
        }
        false
    }
}

impl<DB: Driver> Pool<DB> {
    /// Does the work, unless another server is chosen meanwhile: what this one would answer is not waited for.
    async fn unless_moved<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        if !self.servers.are_several() {
            return work.await;
        }
        let mut moved = self.health.moved();
        tokio::select! {
            biased;
            result = work => result,
            _ = moved.changed() => Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into()),
        }
    }
}

impl<DB: Driver> Lease<'_, DB> {
    /// Runs `work`, which the database has to answer in time, on the connection.
    async fn ask<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut DB::Connection) -> Result<T, sqlx::Error>,
    ) -> Result<T, DbErr> {
        self.is_sound = false;
        let mut unanswered = Unanswered { health: &self.pool.health, sent: Instant::now(), answered: false };
        let work = self.pool.unless_moved(work(&mut self.pooled.connection));
        let result = timeout(self.pool.answer_timeout, work).await;
        let result =
            result.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
        match result.as_ref().map_or_else(reaction, |_| Reaction::Keep) {
            Reaction::Keep => {
                unanswered.answered = true;
                self.pooled.answered = Instant::now();
                self.is_sound = true;
            }
            Reaction::Close => unanswered.answered = true,
            Reaction::CloseAll => {
                unanswered.answered = true;
                self.pool.health.note_read_only();
            }
            Reaction::Distrust => {}
        }
        result.map_err(failed)
    }

    /// Gives the connection back, if it can be used again.
    fn give_back(self) {
        let Self { pool, pooled, is_sound, .. } = self;
        if is_sound && pool.is_usable(&pooled) {
            pool.idle().push(pooled);
        }
    }
}

impl Pool<sqlx::Postgres> {
    /// Sends a query with values as the driver wants them, and reads all rows.
    pub(super) async fn fetch(
        &self,
        sql: &'static str,
        values: sqlx::postgres::PgArguments,
        fence: Option<Fence<'_>>,
    ) -> Result<Vec<sqlx::postgres::PgRow>, DbErr> {
        let query = sqlx::query_with(sql, values).persistent(self.keeps_statements());
        self.with(async |connection| {
            pass(fence)?;
            query.fetch_all(connection).await
        })
        .await
    }
}

impl Pool<sqlx::MySql> {
    /// Sends a query with values as the driver wants them, and reads all rows.
    pub(super) async fn fetch(
        &self,
        sql: Arc<str>,
        values: sqlx::mysql::MySqlArguments,
        fence: Fence<'_>,
    ) -> Result<Vec<sqlx::mysql::MySqlRow>, DbErr> {
        let query = sqlx::query_with(AssertSqlSafe(sql), values);
        self.with(async |connection| {
            fence.pass()?;
            query.fetch_all(connection).await
        })
        .await
    }
}

impl Pool<sqlx::MySql> {
    /// Sends a whole transaction as one text, and reads the rows of all its statements. If one fails, it is rolled back.
    pub(super) async fn run_transaction(
        &self,
        sql: String,
        fence: Fence<'_>,
    ) -> Result<Vec<sqlx::mysql::MySqlRow>, DbErr> {
        self.with(async |connection| {
            fence.pass()?;
            let answer = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *connection).await;
            if let Err(sqlx::Error::Database(_)) = &answer {
                sqlx::MySql::run(connection, &self.session.rollback).await?;
            }
            answer
        })
        .await
    }
}

impl<DB: Driver> Pool<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    SqlxValues: IntoArguments<DB>,
    QueryResult: From<DB::Row>,
    ExecResult: From<DB::QueryResult>,
{
    /// Lends a connection to `work`.
    pub(super) async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut DB::Connection) -> Result<T, sqlx::Error>,
    ) -> Result<T, DbErr> {
        let mut lease = self.lease().await?;
        let result = if self.session.transaction_pooling {
            // Rare, and larger than the rest.
            Box::pin(
                lease.ask(async |connection| in_transaction::<DB, T>(&self.session, connection, work).await),
            )
            .await
        } else {
            lease.ask(work).await
        };
        lease.give_back();
        result
    }

    /// Whether a statement stays prepared for the next use of its connection.
    pub(super) const fn keeps_statements(&self) -> bool {
        !self.session.transaction_pooling
    }

    /// Checks one of its connections once more.
    pub(super) async fn check_epoch(&self) -> Result<(), DbErr> {
        let Session { epochs, dialect, .. } = &self.session;
        self.with(async |connection| epochs.check::<DB>(*dialect, connection).await).await
    }

    /// Sends a query and reads all rows.
    pub(super) async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let is_kept = self.keeps_statements();
        self.with(async |connection| query::<DB>(connection, statement, is_kept).await).await
    }

    /// Sends a statement.
    pub(super) async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let is_kept = self.keeps_statements();
        self.with(async |connection| execute::<DB>(connection, statement, is_kept).await).await
    }
}

/// Passes a fence, where there is one.
fn pass(fence: Option<Fence<'_>>) -> Result<(), sqlx::Error> {
    fence.map_or(Ok(()), |fence| fence.pass())
}

/// Does something in a transaction of its own: behind a pooler of transactions a session is ours only inside of one.
async fn in_transaction<DB: Driver, T>(
    session: &Session,
    connection: &mut DB::Connection,
    work: impl AsyncFnOnce(&mut DB::Connection) -> Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    session.begin_on::<DB>(connection).await?;
    let result = work(connection).await;
    match &result {
        Ok(_) => DB::run(connection, &session.commit).await?,
        Err(sqlx::Error::Database(_)) => DB::run(connection, &session.rollback).await?,
        // It is closed.
        Err(_) => {}
    }
    result
}

async fn query<DB: Driver>(
    connection: &mut DB::Connection,
    statement: Statement,
    is_kept: bool,
) -> Result<Vec<QueryResult>, sqlx::Error>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    SqlxValues: IntoArguments<DB>,
    QueryResult: From<DB::Row>,
{
    let (sql, values) = parts(statement);
    let query = sqlx::query_with(AssertSqlSafe(sql), SqlxValues(values)).persistent(is_kept);
    Ok(query.fetch_all(connection).await?.into_iter().map(QueryResult::from).collect())
}

async fn execute<DB: Driver>(
    connection: &mut DB::Connection,
    statement: Statement,
    is_kept: bool,
) -> Result<ExecResult, sqlx::Error>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    SqlxValues: IntoArguments<DB>,
    ExecResult: From<DB::QueryResult>,
{
    let (sql, values) = parts(statement);
    let query = sqlx::query_with(AssertSqlSafe(sql), SqlxValues(values)).persistent(is_kept);
    Ok(query.execute(connection).await?.into())
}

fn parts(statement: Statement) -> (String, Values) {
    (statement.sql, statement.values.unwrap_or(Values(Vec::<Value>::new())))
}

/// The statement was sent, or may have been.
fn failed(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}
