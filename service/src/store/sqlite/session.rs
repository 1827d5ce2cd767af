//! SQLite sessions. They are set up by the options of their connections: see `settings`.

use std::time::Duration;

use async_trait::async_trait;
use sea_orm::sqlx::{self, AssertSqlSafe, Connection, Executor, Sqlite, SqliteConnection};

use crate::store::{
    dialect::Dialect,
    server_status::ServerStatus,
    session::{Driver, Session, texts},
};

#[async_trait]
impl Driver for Sqlite {
    fn session(dialect: Dialect, _: Duration, _: bool) -> Session {
        Session::new(dialect, "")
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

    async fn ask(connection: &mut SqliteConnection, sql: &str) -> Result<Vec<Option<String>>, sqlx::Error> {
        texts(&sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(connection).await?)
    }

    async fn run(connection: &mut SqliteConnection, sql: &str) -> Result<(), sqlx::Error> {
        connection.execute(AssertSqlSafe(sql.to_owned())).await.map(drop)
    }
}
