//! What a session of a server is set to, and how it is proved that the server accepts writes.
//!
//! Nothing that correctness needs is left to a server's or a role's own settings: a server with `autocommit=0` would answer a
//! write and keep nothing of it. Sessions are set up by statements after the connection is made, since poolers drop what is
//! asked for while connecting.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sea_orm::sqlx::{self, Database, database::HasStatementCache};

use super::{
    dialect::Dialect,
    fence::EpochWatch,
    standing::{Standing, Timeline},
};

/// How long a transaction may be idle. A replica that is paused inside of one blocks its keys for all others until then, and
/// callers are answered 503 after 5 s.
pub(super) const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(2);

/// The statements of a pool's sessions.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) dialect: Dialect,
    /// Whether a pooler gives each transaction another server connection: then nothing of a session outlasts a transaction,
    /// prepared statements included.
    pub(super) transaction_pooling: bool,
    /// Sets up a session.
    pub(super) set_up: Arc<str>,
    /// Begins a transaction.
    pub(super) begin: Arc<str>,
    /// Commits one.
    pub(super) commit: Arc<str>,
    /// Rolls one back.
    pub(super) rollback: Arc<str>,
    /// What is known of the epoch, by which each new connection is checked.
    pub(super) epochs: Arc<EpochWatch>,
}

impl Session {
    /// A session that begins and ends transactions in the plain way.
    pub(super) fn new(dialect: Dialect, set_up: &str) -> Self {
        let [begin, commit, rollback] = ["BEGIN", "COMMIT", "ROLLBACK"].map(Arc::from);
        let (set_up, epochs) = (set_up.into(), Arc::default());
        Self { dialect, transaction_pooling: false, set_up, begin, commit, rollback, epochs }
    }

    /// Begins a transaction. Behind a pooler of transactions its last row tells which server it is on.
    pub(super) async fn begin_on<DB: Driver>(
        &self,
        connection: &mut DB::Connection,
    ) -> Result<(), sqlx::Error> {
        if !self.transaction_pooling {
            return DB::run(connection, &self.begin).await;
        }
        let row = DB::ask(connection, &self.begin).await?;
        self.epochs.recognise(row.first().and_then(Option::as_deref))
    }
}

/// What a pool has to know of a driver.
#[async_trait]
pub(super) trait Driver: Database + HasStatementCache {
    /// The sessions of a dialect, in which a statement may run for so long.
    fn session(dialect: Dialect, statement_timeout: Duration, transaction_pooling: bool) -> Session;

    /// Sets up the session of a new connection, and proves that the server accepts writes.
    async fn set_up(session: &Session, connection: &mut Self::Connection) -> Result<(), sqlx::Error>;

    /// What the server is: whether it accepts writes, and what distinguishes it from others.
    async fn standing(connection: &mut Self::Connection) -> Result<Standing, sqlx::Error>;

    /// Where the server stands in PostgreSQL's history; `None` where there are no timelines, or it does not tell.
    async fn timeline(_connection: &mut Self::Connection) -> Result<Option<Timeline>, sqlx::Error> {
        Ok(None)
    }

    /// A connection is tested after so long even if it was used all the time: a server may lose its office and still answer.
    const TEST_EVERY: Duration = Duration::MAX;

    /// Tests a connection: that it answers, that its session is still set up, and on MariaDB and MySQL that the server accepts
    /// writes.
    async fn test(session: &Session, connection: &mut Self::Connection) -> Result<(), sqlx::Error>;

    /// Runs statements without preparing them, and reads the last row, whose columns are texts.
    async fn ask(connection: &mut Self::Connection, sql: &str) -> Result<Vec<Option<String>>, sqlx::Error>;

    /// Runs statements without preparing them.
    async fn run(connection: &mut Self::Connection, sql: &str) -> Result<(), sqlx::Error>;
}

/// The columns of the last row, which are texts.
pub(super) fn texts<R: sqlx::Row>(rows: &[R]) -> Result<Vec<Option<String>>, sqlx::Error>
where
    usize: sqlx::ColumnIndex<R>,
    Option<String>: for<'r> sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    let Some(row) = rows.last() else { return Ok(Vec::new()) };
    (0..row.len()).map(|column| row.try_get(column)).collect()
}

/// The server does not accept writes.
#[derive(Debug, thiserror::Error)]
#[error("the server takes no writes: {0}")]
pub(super) struct ReadOnlyServer(pub(super) &'static str);

/// Several servers accept writes, and nothing tells which of them is the right one.
#[derive(Debug, thiserror::Error)]
#[error("two writable servers: {0} accept writes; make all but one of them read-only")]
pub(super) struct SeveralWritable(pub(super) String);

/// A setting that correctness needs is not what it was set to.
#[derive(Debug, thiserror::Error)]
#[error("the session's setting {setting} is {found}, though it was set to {wanted}")]
pub(super) struct WrongSetting {
    pub(super) setting: &'static str,
    pub(super) found: String,
    pub(super) wanted: &'static str,
}

/// An error found in the answer of a server.
pub(super) fn refused(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Configuration(Box::new(error))
}
