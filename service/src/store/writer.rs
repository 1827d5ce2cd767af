//! Connections for writes other than batches: membership and sweeping.

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DatabaseTransaction, DbErr, ExecResult,
    QueryResult, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};
use tokio::time::Instant;

use super::{
    classify::is_busy,
    connect::{SQLITE_BUSY_POLL, SQLITE_BUSY_TIMEOUT},
    pools::AnyPool,
    sqlite::WritePermit,
};

/// Who writes what is not a batch.
pub(super) enum Writer<'s> {
    /// Each statement by itself.
    Server(&'s AnyPool),
    /// All statements in one transaction, for which the file was waited for once.
    Sqlite {
        /// The transaction.
        transaction: Box<DatabaseTransaction>,
        /// Keeps this process's batches away meanwhile.
        turn: WritePermit<'s>,
    },
}

impl Writer<'_> {
    /// What was written stands.
    pub(super) async fn finish(self) -> Result<(), DbErr> {
        match self {
            Self::Server(_) => Ok(()),
            Self::Sqlite { transaction, turn } => {
                let committed = transaction.commit().await;
                drop(turn);
                committed
            }
        }
    }
}

/// Takes a SQLite file's right to write. SQLite polls for it ever more seldom, and beside another process that writes without a
/// pause it would hardly ever come to it; so it is asked for often.
pub(super) async fn begin_patiently(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let until = Instant::now() + SQLITE_BUSY_TIMEOUT;
    loop {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        match db.begin_with_options(options).await {
            Err(error) if is_busy(&error) && Instant::now() < until => {
                tokio::time::sleep(SQLITE_BUSY_POLL).await;
            }
            begun => return begun,
        }
    }
}

#[async_trait]
impl ConnectionTrait for Writer<'_> {
    fn get_database_backend(&self) -> DatabaseBackend {
        match self {
            Self::Server(db) => db.get_database_backend(),
            Self::Sqlite { transaction, .. } => transaction.get_database_backend(),
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match self {
            Self::Server(db) => db.execute_raw(statement).await,
            Self::Sqlite { transaction, .. } => transaction.execute_raw(statement).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match self {
            Self::Server(db) => db.execute_unprepared(sql).await,
            Self::Sqlite { transaction, .. } => transaction.execute_unprepared(sql).await,
        }
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        match self {
            Self::Server(db) => db.query_one_raw(statement).await,
            Self::Sqlite { transaction, .. } => transaction.query_one_raw(statement).await,
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match self {
            Self::Server(db) => db.query_all_raw(statement).await,
            Self::Sqlite { transaction, .. } => transaction.query_all_raw(statement).await,
        }
    }
}
