//! SQLite's sessions are set up by the options they are opened with: see `connect`.

use async_trait::async_trait;
use sea_orm::{
    DatabaseBackend,
    sqlx::{self, AssertSqlSafe, Connection, Executor, Sqlite, SqliteConnection},
};

use super::{Driver, Session, Statements};

pub(super) fn statements() -> Statements {
    let [set_up, begin, commit, rollback] = ["", "BEGIN", "COMMIT", "ROLLBACK"].map(str::to_owned);
    Statements { set_up, begin, commit, rollback }
}

#[async_trait]
impl Driver for Sqlite {
    const BACKEND: DatabaseBackend = DatabaseBackend::Sqlite;

    async fn set_up(_: &Session, _: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn test(_: &Session, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        connection.ping().await
    }

    async fn run(connection: &mut SqliteConnection, sql: &str) -> Result<(), sqlx::Error> {
        connection.execute(AssertSqlSafe(sql.to_owned())).await.map(drop)
    }
}
