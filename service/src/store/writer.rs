//! The connections for statements: a pool, or a transaction.

use std::pin::Pin;

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseBackend, DbErr, ExecResult, QueryResult, Statement, sqlx};

use super::{
    PoolUse,
    pool::{Pool, Transaction},
    sqlite::WritePermit,
};

/// A pool of one of the drivers.
#[derive(Debug)]
pub(super) enum AnyPool {
    Sqlite(Pool<sqlx::Sqlite>),
    Postgres(Pool<sqlx::Postgres>),
    MySql(Pool<sqlx::MySql>),
}

impl AnyPool {
    const fn backend(&self) -> DatabaseBackend {
        match self {
            Self::Sqlite(_) => DatabaseBackend::Sqlite,
            Self::Postgres(_) => DatabaseBackend::Postgres,
            Self::MySql(_) => DatabaseBackend::MySql,
        }
    }

    /// The numbers of connections: in use, idle, and the most there may be.
    fn connections(&self) -> (usize, usize, usize) {
        match self {
            Self::Sqlite(pool) => pool.usage(),
            Self::Postgres(pool) => pool.usage(),
            Self::MySql(pool) => pool.usage(),
        }
    }

    /// The most connections that the pool may have.
    pub(super) fn limit(&self) -> usize {
        self.connections().2
    }

    /// Use of the pool's connections.
    pub(super) fn usage(&self, name: &'static str) -> PoolUse {
        let (in_use, idle, limit) = self.connections();
        let count = |connections: usize| u32::try_from(connections).unwrap_or(u32::MAX);
        PoolUse { pool: name, in_use: count(in_use), idle: count(idle), limit: count(limit) }
    }

    /// Begins a transaction on a server.
    pub(super) async fn begin(&self) -> Result<Writer<'_>, DbErr> {
        Ok(match self {
            Self::Sqlite(_) => return Err(DbErr::Custom("SQLite has a writer of its own".to_owned())),
            Self::Postgres(pool) => Writer::Postgres(pool.begin().await?),
            Self::MySql(pool) => Writer::MySql(pool.begin().await?),
        })
    }
}

/// The connection for a group of statements that write.
pub(super) enum Writer<'s> {
    /// A pool of a server. Each statement is a commit of its own.
    Pool(&'s AnyPool),
    Postgres(Transaction<'s, sqlx::Postgres>),
    MySql(Transaction<'s, sqlx::MySql>),
    Sqlite {
        transaction: Transaction<'s, sqlx::Sqlite>,
        /// Makes the batches of this process wait. It is dropped after the transaction.
        write_permit: WritePermit<'s>,
    },
}

/// Statements that are run over a writer.
pub(super) type Work<'w, T> = Pin<Box<dyn Future<Output = Result<T, DbErr>> + Send + 'w>>;

impl Writer<'_> {
    const fn backend(&self) -> DatabaseBackend {
        match self {
            Self::Pool(pool) => pool.backend(),
            Self::Postgres(_) => DatabaseBackend::Postgres,
            Self::MySql(_) => DatabaseBackend::MySql,
            Self::Sqlite { .. } => DatabaseBackend::Sqlite,
        }
    }

    /// Commits if the statements succeeded, and rolls back otherwise.
    pub(super) async fn end<T>(self, result: Result<T, DbErr>) -> Result<T, DbErr> {
        match self {
            Self::Pool(_) => result,
            Self::Postgres(transaction) => transaction.end(result).await,
            Self::MySql(transaction) => transaction.end(result).await,
            Self::Sqlite { transaction, write_permit } => {
                let result = transaction.end(result).await;
                drop(write_permit);
                result
            }
        }
    }
}

/// Implements `ConnectionTrait` for an enum: each variant passes statements on to its content.
macro_rules! forward_statements {
    ($type:ty, $($pattern:pat => $db:ident),+) => {
        #[async_trait]
        impl ConnectionTrait for $type {
            fn get_database_backend(&self) -> DatabaseBackend {
                self.backend()
            }

            async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
                match self {
                    $($pattern => $db.execute_raw(statement).await,)+
                }
            }

            async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
                self.execute_raw(Statement::from_string(self.backend(), sql)).await
            }

            async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
                Ok(self.query_all_raw(statement).await?.into_iter().next())
            }

            async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
                match self {
                    $($pattern => $db.query_all_raw(statement).await,)+
                }
            }
        }
    };
}

forward_statements!(AnyPool, Self::Sqlite(db) => db, Self::Postgres(db) => db, Self::MySql(db) => db);
forward_statements!(
    Writer<'_>,
    Self::Pool(db) => db,
    Self::Postgres(db) => db,
    Self::MySql(db) => db,
    Self::Sqlite { transaction, .. } => transaction
);

#[cfg(test)]
mod tests;
