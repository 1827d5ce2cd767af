//! SQLite sessions. They are set up by the options of their connections: see `settings`.

use std::time::Duration;

use async_trait::async_trait;
use sea_orm::sqlx::{self, AssertSqlSafe, Connection, Executor, Sqlite, SqliteConnection};
use tokio::time::{Instant, sleep};

use super::settings::{BUSY_POLL, BUSY_TIMEOUT};
use crate::store::{
    classify::is_busy_file,
    dialect::Dialect,
    server_status::ServerStatus,
    session::{Driver, Session, texts},
};

/// Begins a transaction that writes, without SQLite's own waits for a busy file, which grow to 100 ms.
const BEGIN: &str = "PRAGMA busy_timeout = 0; BEGIN IMMEDIATE";

#[async_trait]
impl Driver for Sqlite {
    fn session(dialect: Dialect, _: Duration, _: bool) -> Session {
        Session { begin: BEGIN.into(), ..Session::new(dialect, "") }
    }

    async fn set_up(_: &Session, _: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn status(_: &mut SqliteConnection) -> Result<ServerStatus, sqlx::Error> {
        Ok(ServerStatus::default())
    }

    async fn test(_: &Session, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        connection.ping().await
    }

    /// Waits for other processes that write. One that writes without a pause would hardly ever leave a gap for SQLite's
    /// own waits, so this asks once a millisecond.
    async fn begin(session: &Session, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let until = Instant::now() + BUSY_TIMEOUT;
        loop {
            match Self::run(connection, &session.begin).await {
                Err(error) if is_busy_file(&error) && Instant::now() < until => sleep(BUSY_POLL).await,
                begun => return begun,
            }
        }
    }

    async fn ask(connection: &mut SqliteConnection, sql: &str) -> Result<Vec<Option<String>>, sqlx::Error> {
        texts(&sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(connection).await?)
    }

    async fn run(connection: &mut SqliteConnection, sql: &str) -> Result<(), sqlx::Error> {
        connection.execute(AssertSqlSafe(sql.to_owned())).await.map(drop)
    }
}
