//! SQL that bypasses the service, to create databases and to act as an operator.

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr, Statement};

/// Runs statements.
pub(crate) async fn execute(url: &str, sql: &str) -> Result<(), DbErr> {
    let connection = connect(url).await?;
    connection.execute_unprepared(sql).await?;
    connection.close().await
}

/// Runs a query that returns one number.
pub(crate) async fn number(url: &str, sql: &str) -> Result<i64, DbErr> {
    let connection = connect(url).await?;
    let query = Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(query).await?;
    let number = row.ok_or(DbErr::RecordNotFound(sql.to_owned()))?.try_get_by_index(0)?;
    connection.close().await?;
    Ok(number)
}

/// A connection that stays open, for settings of a session.
pub(crate) async fn connect(url: &str) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await
}
