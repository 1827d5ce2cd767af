//! Settings of a server's session, and the check that the server accepts writes.
//!
//! Correctness does not depend on the settings of a server or a role: a server with `autocommit=0` would answer a write
//! and keep nothing of it. Statements set up a session after the connection is made, since poolers drop settings that
//! are part of connecting.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sea_orm::sqlx::{self, Connection, Database, database::HasStatementCache};

use super::{
    dialect::Dialect,
    fence::EpochWatch,
    server_status::{ServerStatus, Timeline},
};

/// How long a transaction may be idle. A replica that is paused inside a transaction blocks its keys for all others
/// until then. Callers are answered 503 after 5 s.
pub(super) const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(2);

/// The statements of a pool's sessions.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) dialect: Dialect,
    /// Whether a pooler gives each transaction another server connection. Then nothing of a session outlasts a
    /// transaction, not even prepared statements.
    pub(super) transaction_pooling: bool,
    /// The statements that set up a session.
    pub(super) set_up: Arc<str>,
    /// The statements that begin a transaction.
    pub(super) begin: Arc<str>,
    /// The statements that commit a transaction.
    pub(super) commit: Arc<str>,
    /// The statements that roll back a transaction.
    pub(super) rollback: Arc<str>,
    /// The known epoch. Each new connection is checked against it.
    pub(super) epochs: Arc<EpochWatch>,
}

impl Session {
    /// A session that begins and ends transactions with the plain statements.
    pub(super) fn new(dialect: Dialect, set_up: &str) -> Self {
        let [begin, commit, rollback] = ["BEGIN", "COMMIT", "ROLLBACK"].map(Arc::from);
        let (set_up, epochs) = (set_up.into(), Arc::default());
        Self { dialect, transaction_pooling: false, set_up, begin, commit, rollback, epochs }
    }

    /// Begins a transaction. Behind a transaction pooler this also checks which server it is on, by the last row.
    pub(super) async fn begin_on<DB: Driver>(
        &self,
        connection: &mut DB::Connection,
    ) -> Result<(), sqlx::Error> {
        if !self.transaction_pooling {
            return DB::run(connection, &self.begin).await;
        }
        let row = DB::ask(connection, &self.begin).await?;
        self.epochs.check_same_server(row.first().and_then(Option::as_deref))
    }
}

/// The part of a driver that a pool needs.
#[async_trait]
pub(super) trait Driver: Database + HasStatementCache {
    /// The session for a dialect, in which a statement may run for `statement_timeout`.
    fn session(dialect: Dialect, statement_timeout: Duration, transaction_pooling: bool) -> Session;

    /// The port of the server; `None` if a connection leads to no server.
    fn port(_: &<Self::Connection as Connection>::Options) -> Option<u16> {
        None
    }

    /// Sets up the session of a new connection, and proves that the server accepts writes.
    async fn set_up(session: &Session, connection: &mut Self::Connection) -> Result<(), sqlx::Error>;

    /// The server's state: whether it accepts writes, and what distinguishes it from other servers.
    async fn status(connection: &mut Self::Connection) -> Result<ServerStatus, sqlx::Error>;

    /// The server's place in PostgreSQL's history; `None` if there are no timelines, or if the server does not report it.
    async fn timeline(_connection: &mut Self::Connection) -> Result<Option<Timeline>, sqlx::Error> {
        Ok(None)
    }

    /// How often a connection is tested even if it is always in use: a server that was demoted may still answer.
    const TEST_EVERY: Duration = Duration::MAX;

    /// Tests that a connection answers and that its session is still set up. On MariaDB and MySQL this also tests that
    /// the server accepts writes.
    async fn test(session: &Session, connection: &mut Self::Connection) -> Result<(), sqlx::Error>;

    /// Begins a transaction.
    async fn begin(session: &Session, connection: &mut Self::Connection) -> Result<(), sqlx::Error> {
        session.begin_on::<Self>(connection).await
    }

    /// Runs statements without preparing them, and reads the last row. Its columns are texts.
    async fn ask(connection: &mut Self::Connection, sql: &str) -> Result<Vec<Option<String>>, sqlx::Error>;

    /// Runs statements without preparing them.
    async fn run(connection: &mut Self::Connection, sql: &str) -> Result<(), sqlx::Error>;
}

/// Reads the columns of the last row. They are texts.
pub(super) fn texts<R: sqlx::Row>(rows: &[R]) -> Result<Vec<Option<String>>, sqlx::Error>
where
    usize: sqlx::ColumnIndex<R>,
    Option<String>: for<'r> sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    let Some(row) = rows.last() else { return Ok(Vec::new()) };
    (0..row.len()).map(|column| row.try_get(column)).collect()
}
