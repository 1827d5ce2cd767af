//! Sessions of MariaDB and MySQL.

use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{
    DatabaseBackend,
    sqlx::{
        self, AssertSqlSafe, ConnectOptions, Connection, MySql, MySqlConnection, Row,
        mysql::MySqlConnectOptions,
    },
};

use super::{Driver, IDLE_IN_TRANSACTION, ReadOnlyServer, Session, Statements, WrongSetting, refused};
use crate::store::dialect::Dialect;

/// What correctness needs on both, whatever the server's own settings are. A lock on a row
/// is waited for 1 s, which is the least that can be set (what it keeps from being written is found out then), one on a table 2 s.
const COMMON: &str = "SET NAMES utf8mb4, SESSION autocommit = 1, \
     SESSION sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
     SESSION time_zone = '+00:00', SESSION innodb_lock_wait_timeout = 1, SESSION lock_wait_timeout = 2, \
     SESSION foreign_key_checks = 1, SESSION unique_checks = 1; \
     SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET SESSION TRANSACTION READ WRITE; ";
/// How long an idle connection may stay, in seconds: longer than it is used at all.
const IDLE_CONNECTION_S: u32 = 600;

/// What a connection for migrations is set to; these may take as long as they want.
pub(in super::super) const MYSQL_MIGRATION_SESSION: &str = "SET SESSION autocommit = 1, \
     SESSION sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
     SESSION time_zone = '+00:00', SESSION innodb_lock_wait_timeout = 2; \
     SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

pub(super) fn statements(dialect: Dialect, statement_timeout: Duration) -> Statements {
    let idle_s = IDLE_IN_TRANSACTION.as_secs();
    let (begin, commit, rollback) = ("START TRANSACTION", "COMMIT", "ROLLBACK");
    let idle_connection = format!("SET SESSION wait_timeout = {IDLE_CONNECTION_S}");
    if dialect == Dialect::MariaDb {
        let set_up = format!(
            "{COMMON}{idle_connection}; SET SESSION idle_transaction_timeout = {idle_s}, \
             SESSION idle_write_transaction_timeout = {idle_s}, SESSION max_statement_time = {}; ",
            statement_timeout.as_secs()
        );
        let [begin, commit, rollback] = [begin, commit, rollback].map(str::to_owned);
        return Statements { set_up, begin, commit, rollback };
    }
    // MySQL has no limit of its own on idle transactions. The one on idle connections serves, while there is one.
    Statements {
        set_up: format!(
            "{COMMON}{idle_connection}; SET SESSION max_execution_time = {}; ",
            statement_timeout.as_millis()
        ),
        begin: format!("SET SESSION wait_timeout = {idle_s}; {begin}"),
        commit: format!("{commit}; {idle_connection}"),
        rollback: format!("{rollback}; {idle_connection}"),
    }
}

/// Options without what the driver would set itself: all of it is set with the rest.
pub(in super::super) fn plain_mysql_options(options: MySqlConnectOptions) -> MySqlConnectOptions {
    options
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .set_names(false)
        .disable_statement_logging()
}

#[async_trait]
impl Driver for MySql {
    const BACKEND: DatabaseBackend = DatabaseBackend::MySql;

    async fn set_up(session: &Session, connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        let isolation =
            if session.dialect == Dialect::MariaDb { "tx_isolation" } else { "transaction_isolation" };
        let sql = format!(
            "{}SELECT CAST(@@GLOBAL.read_only AS CHAR), IF(@@SESSION.autocommit, 'ON', 'OFF'), \
             CAST(@@SESSION.{isolation} AS CHAR), CAST(@@SESSION.sql_mode AS CHAR)",
            session.set_up
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
        let row = rows.last().ok_or(sqlx::Error::RowNotFound)?;
        let found = |column: usize| row.try_get::<String, _>(column);
        // An administrator could write here all the same: to a primary that was demoted.
        if !matches!(found(0)?.as_str(), "0" | "OFF") {
            return Err(refused(ReadOnlyServer("read_only is set, as on a replica")));
        }
        check("autocommit", found(1)?, "ON")?;
        check("transaction isolation", found(2)?, "READ-COMMITTED")?;
        check("sql_mode", found(3)?, "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION")
    }

    async fn test(_: &Session, connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        connection.ping().await
    }

    async fn run(connection: &mut MySqlConnection, sql: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.map(drop)
    }
}

fn check(setting: &'static str, found: String, wanted: &'static str) -> Result<(), sqlx::Error> {
    if found == wanted { Ok(()) } else { Err(refused(WrongSetting { setting, found, wanted })) }
}
