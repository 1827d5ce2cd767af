//! What a session of a server is set to, and how it is proved that the server accepts writes.
//!
//! Nothing that correctness needs is left to a server's or a role's own settings: a server with `autocommit=0` would answer a
//! write and keep nothing of it. Sessions are set up by statements after the connection is made, since poolers drop what is
//! asked for while connecting.

mod mysql;
mod postgres;
mod sqlite;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sea_orm::{
    DatabaseBackend,
    sqlx::{self, Database, database::HasStatementCache},
};

pub(super) use self::{
    mysql::{MYSQL_MIGRATION_SESSION, plain_mysql_options},
    postgres::{plain_postgres_options, pools_transactions, postgres_migration_session},
};
use super::dialect::Dialect;

/// How long a transaction may be idle. A replica that is paused inside of one keeps the keys that it works on from all others
/// until then, and callers are answered 503 after 5 s.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(2);

/// What the sessions of a pool are set to.
#[derive(Debug, Clone)]
pub(super) struct Session {
    dialect: Dialect,
    /// Whether a pooler gives each transaction a server connection of its choice: then nothing of a session outlasts a
    /// transaction, prepared statements included.
    pub(super) transaction_pooling: bool,
    /// Sets up a session.
    set_up: Arc<str>,
    /// Begins a transaction.
    pub(super) begin: Arc<str>,
    /// Commits one.
    pub(super) commit: Arc<str>,
    /// Rolls one back.
    pub(super) rollback: Arc<str>,
}

/// What a pool has to know of a driver.
#[async_trait]
pub(super) trait Driver: Database + HasStatementCache {
    /// SeaORM's name of it.
    const BACKEND: DatabaseBackend;

    /// Sets a new connection's session up, and proves that the server accepts writes.
    async fn set_up(session: &Session, connection: &mut Self::Connection) -> Result<(), sqlx::Error>;

    /// Tests a connection that was idle: that it answers, and that its session is still set up.
    async fn test(session: &Session, connection: &mut Self::Connection) -> Result<(), sqlx::Error>;

    /// Runs statements without preparing them.
    async fn run(connection: &mut Self::Connection, sql: &str) -> Result<(), sqlx::Error>;
}

/// The server was asked, and takes no writes.
#[derive(Debug, thiserror::Error)]
#[error("the server takes no writes: {0}")]
pub(super) struct ReadOnlyServer(&'static str);

/// A setting that correctness needs is not what it was set to.
#[derive(Debug, thiserror::Error)]
#[error("the session's setting {setting} is {found}, though it was set to {wanted}")]
pub(super) struct WrongSetting {
    setting: &'static str,
    found: String,
    wanted: &'static str,
}

/// An error found in what a server answered.
fn refused(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Configuration(Box::new(error))
}

/// A statement that sets a session up, and those that begin, commit and roll back a transaction in it.
struct Statements {
    set_up: String,
    begin: String,
    commit: String,
    rollback: String,
}

impl Session {
    /// The sessions of a dialect, in which a statement may run for so long.
    pub(super) fn new(dialect: Dialect, statement_timeout: Duration, transaction_pooling: bool) -> Self {
        let statements = match dialect {
            Dialect::Sqlite => sqlite::statements(),
            Dialect::Postgres => postgres::statements(statement_timeout, transaction_pooling),
            Dialect::MariaDb | Dialect::MySql => mysql::statements(dialect, statement_timeout),
        };
        Self {
            dialect,
            transaction_pooling,
            set_up: statements.set_up.into(),
            begin: statements.begin.into(),
            commit: statements.commit.into(),
            rollback: statements.rollback.into(),
        }
    }
}
