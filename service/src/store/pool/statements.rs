//! Statements on a pool's connections.

use std::sync::Arc;

use sea_orm::{
    DbErr, ExecResult, QueryResult, Statement, Value, Values,
    sqlx::{self, AssertSqlSafe, Executor, IntoArguments},
};
use sea_query_sqlx::SqlxValues;

use super::{Pool, UsedConnection};
use crate::store::{
    fence::Fence,
    session::{Driver, Session},
};

impl Pool<sqlx::Postgres> {
    /// Sends a query with values in the driver's form, and reads all rows.
    pub(in crate::store) async fn fetch(
        &self,
        sql: &'static str,
        values: sqlx::postgres::PgArguments,
        fence: Fence<'_>,
    ) -> Result<Vec<sqlx::postgres::PgRow>, DbErr> {
        let query = sqlx::query_with(sql, values).persistent(self.keeps_statements());
        self.with(async |connection| {
            fence.pass()?;
            query.fetch_all(connection).await
        })
        .await
    }
}

impl Pool<sqlx::MySql> {
    /// Sends a query with values in the driver's form, and reads all rows.
    pub(in crate::store) async fn fetch(
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

    /// Sends a whole transaction as one text, and reads the rows of all its statements. If one fails, rolls the
    /// transaction back.
    pub(in crate::store) async fn run_transaction(
        &self,
        sql: String,
        fence: Fence<'_>,
    ) -> Result<Vec<sqlx::mysql::MySqlRow>, DbErr> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql));
        self.whole_transaction(fence, async |connection| query.fetch_all(connection).await).await
    }

    /// [`Self::run_transaction`] for a transaction that is a single statement, with values in the driver's form.
    pub(in crate::store) async fn fetch_transaction(
        &self,
        sql: Arc<str>,
        values: sqlx::mysql::MySqlArguments,
        fence: Fence<'_>,
    ) -> Result<Vec<sqlx::mysql::MySqlRow>, DbErr> {
        let query = sqlx::query_with(AssertSqlSafe(sql), values);
        self.whole_transaction(fence, async |connection| query.fetch_all(connection).await).await
    }

    async fn whole_transaction(
        &self,
        fence: Fence<'_>,
        work: impl AsyncFnOnce(&mut sqlx::MySqlConnection) -> Result<Vec<sqlx::mysql::MySqlRow>, sqlx::Error>,
    ) -> Result<Vec<sqlx::mysql::MySqlRow>, DbErr> {
        let mut lease = self.lease().await?;
        let answer = lease
            .ask(async |connection| {
                fence.pass()?;
                work(connection).await
            })
            .await;
        match answer {
            Ok(rows) => {
                lease.give_back();
                Ok(rows)
            }
            Err(error) => lease.end(Err(error)).await,
        }
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
    pub(in crate::store) async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut DB::Connection) -> Result<T, sqlx::Error>,
    ) -> Result<T, DbErr> {
        let mut lease = self.lease().await?;
        if self.session.transaction_pooling {
            // Boxed, since it is rare, and larger than the rest.
            return Box::pin(in_transaction(lease, work)).await;
        }
        let result = lease.ask(work).await;
        lease.give_back();
        result
    }

    /// Opens the first connection, or tests one.
    pub(in crate::store) async fn test(&self) -> Result<(), DbErr> {
        self.with(async |connection| DB::test(&self.session, connection).await).await
    }

    /// Whether a statement stays prepared for the next use of its connection.
    pub(in crate::store) const fn keeps_statements(&self) -> bool {
        !self.session.transaction_pooling
    }

    /// Checks the epoch over one of the pool's connections.
    pub(in crate::store) async fn check_epoch(&self) -> Result<(), DbErr> {
        let Session { epochs, dialect, .. } = &self.session;
        self.with(async |connection| epochs.check::<DB>(*dialect, connection).await).await
    }

    /// Sends a query and reads all rows.
    pub(in crate::store) async fn query_all_raw(
        &self,
        statement: Statement,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let is_kept = self.keeps_statements();
        self.with(async |connection| query::<DB>(connection, statement, is_kept).await).await
    }

    /// Sends a statement.
    pub(in crate::store) async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let is_kept = self.keeps_statements();
        self.with(async |connection| execute::<DB>(connection, statement, is_kept).await).await
    }
}

/// Does work in a transaction of its own: behind a transaction pooler a session is ours only inside a transaction.
async fn in_transaction<DB: Driver, T>(
    mut lease: UsedConnection<'_, DB>,
    work: impl AsyncFnOnce(&mut DB::Connection) -> Result<T, sqlx::Error>,
) -> Result<T, DbErr> {
    let session = &lease.pool.session;
    lease.ask(async |connection| DB::begin(session, connection).await).await?;
    let result = lease.ask(work).await;
    lease.end(result).await
}

pub(super) async fn query<DB: Driver>(
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

pub(super) async fn execute<DB: Driver>(
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
