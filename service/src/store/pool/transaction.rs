//! Transactions: a connection that is kept until commit or rollback. It is closed if neither happens.

use sea_orm::{
    DbErr, ExecResult, QueryResult, RuntimeErr, Statement,
    sqlx::{self, Executor, IntoArguments},
};
use sea_query_sqlx::SqlxValues;
use tokio::sync::{Mutex, SemaphorePermit};

use super::{
    super::session::Driver,
    Pool, UsedConnection, not_connected,
    statements::{execute, query},
};

/// A transaction. If it is dropped, its connection is closed, and the server rolls it back.
pub(in super::super) struct Transaction<'p, DB: Driver> {
    lease: Mutex<UsedConnection<'p, DB>>,
    _permit: SemaphorePermit<'p>,
}

impl<DB: Driver> Pool<DB> {
    /// Begins a transaction.
    pub(in super::super) async fn begin(&self) -> Result<Transaction<'_, DB>, DbErr> {
        let permit = self.transaction_permit().await?;
        let mut lease = self.lease().await?;
        let begun = lease.ask(async |connection| DB::begin(&self.session, connection).await).await;
        // The transaction failed at its beginning, so nothing was written.
        begun.map_err(|error| match error {
            DbErr::Query(RuntimeErr::SqlxError(source)) => DbErr::Conn(RuntimeErr::SqlxError(source)),
            other => other,
        })?;
        Ok(Transaction { lease: Mutex::new(lease), _permit: permit })
    }

    /// Waits until one more connection may be inside a transaction. Such a connection may wait for locks for some time,
    /// so the others are left to statements.
    pub(in super::super) async fn transaction_permit(&self) -> Result<SemaphorePermit<'_>, DbErr> {
        self.permit_of(&self.transaction_permits).await
    }
}

impl<DB: Driver> Transaction<'_, DB> {
    /// Commits if `result` is a success. Rolls back if it is an error.
    pub(in super::super) async fn end<T>(self, result: Result<T, DbErr>) -> Result<T, DbErr> {
        self.lease.into_inner().end(result).await
    }
}

impl<DB: Driver> UsedConnection<'_, DB> {
    /// Ends the transaction that the connection is inside of: commits if `result` is a success, and rolls back if it is an
    /// error. If that fails, the connection is closed, since it may still be inside: its locks would be kept, and the next
    /// transaction would be a part of this one.
    pub(super) async fn end<T>(mut self, result: Result<T, DbErr>) -> Result<T, DbErr> {
        let session = &self.pool.session;
        let statement = if result.is_ok() { &session.commit } else { &session.rollback };
        // Another server may have been chosen since the transaction began, or this server may have been demoted.
        if result.is_ok() && self.pool.health.is_condemned(self.pooled.opened) {
            return Err(not_connected(sqlx::Error::PoolTimedOut));
        }
        // A commit over a connection that is not sound fails, as it should.
        if result.is_ok() || self.is_sound {
            let ended = self.ask(async |connection| DB::run(connection, statement).await).await;
            if ended.is_ok() {
                self.give_back();
            }
            if result.is_ok() {
                ended?;
            }
        }
        result
    }
}

impl<DB: Driver> Transaction<'_, DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    SqlxValues: IntoArguments<DB>,
    QueryResult: From<DB::Row>,
    ExecResult: From<DB::QueryResult>,
{
    pub(in super::super) async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let mut lease = self.lease.lock().await;
        let is_kept = lease.pool.keeps_statements();
        lease.ask(async |connection| execute::<DB>(connection, statement, is_kept).await).await
    }

    pub(in super::super) async fn query_all_raw(
        &self,
        statement: Statement,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let mut lease = self.lease.lock().await;
        let is_kept = lease.pool.keeps_statements();
        lease.ask(async |connection| query::<DB>(connection, statement, is_kept).await).await
    }
}
