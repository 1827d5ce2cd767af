//! Sessions of MariaDB and MySQL.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use sea_orm::sqlx::{
    self, AssertSqlSafe, ConnectOptions, MySql, MySqlConnection, Row, mysql::MySqlConnectOptions,
};

use crate::store::{
    dialect::Dialect,
    not_sent::NotSent,
    server_status::ServerStatus,
    session::{Driver, IDLE_IN_TRANSACTION, Session, texts},
};

/// The settings that correctness needs on both servers, whatever the server's own settings are. A statement waits 1 s
/// for a row lock, which is the least that can be set; after that, locked rows are searched for. It waits 2 s for a
/// table lock.
const COMMON: &str = "SET NAMES utf8mb4, SESSION autocommit = 1, \
     SESSION sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
     SESSION time_zone = '+00:00', SESSION innodb_lock_wait_timeout = 1, SESSION lock_wait_timeout = 2, \
     SESSION foreign_key_checks = 1, SESSION unique_checks = 1, SESSION completion_type = 0, \
     SESSION sql_safe_updates = 0, SESSION sql_big_selects = 1, SESSION sql_select_limit = 18446744073709551615; \
     SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET SESSION TRANSACTION READ WRITE; ";
/// The settings that a session needs on a node of a Galera cluster. They change nothing on a single server. Each
/// statement first waits until the node has applied what others had committed by then, including creations, which read
/// their tenant's floor. A node that lost its cluster is not read.
const GALERA: &str = "SESSION wsrep_sync_wait = 7, SESSION wsrep_dirty_reads = 0";
/// Whether the server refuses writes: `ON`, or in later versions the name of a degree.
pub(in super::super) const IS_READ_ONLY: &str =
    "CAST(@@GLOBAL.read_only AS CHAR) NOT IN ('0', 'OFF') OR @@GLOBAL.innodb_read_only = 1";
/// Why the server refuses writes.
const READ_ONLY: &str = "read_only is set, as on a replica";
/// The server's limit on idle connections in seconds: longer than a pool keeps a connection.
const IDLE_CONNECTION_S: u32 = 600;

/// Statements that set up a connection for migrations, which have no time limit. Migrations wait 1 s for sessions that
/// use a table or a routine, and try again: everybody else waits behind a migration, and the service's own sessions
/// wait 2 s. The default is a year (MySQL) or a day. On MariaDB, which alone reads the second comment, a table is changed
/// on all nodes of a cluster, whatever the node's own method is. Only MySQL reads the first one.
pub(in super::super) fn migration_session() -> String {
    format!(
        "SET SESSION autocommit = 1, SESSION completion_type = 0, /*!80000 SESSION max_execution_time = 0, */ \
         /*M! SESSION max_statement_time = 0, {GALERA}, SESSION wsrep_osu_method = 'TOI', */ \
         SESSION sql_safe_updates = 0, SESSION sql_big_selects = 1, SESSION sql_select_limit = 18446744073709551615, \
         SESSION sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
         SESSION time_zone = '+00:00', SESSION innodb_lock_wait_timeout = 2, SESSION lock_wait_timeout = 1; \
         SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
    )
}

/// Options without the driver's own settings: `session` makes all settings.
pub(in super::super) fn plain_options(options: MySqlConnectOptions) -> MySqlConnectOptions {
    options
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .set_names(false)
        .disable_statement_logging()
}

#[async_trait]
impl Driver for MySql {
    fn session(dialect: Dialect, statement_timeout: Duration, _: bool) -> Session {
        let idle_s = IDLE_IN_TRANSACTION.as_secs();
        let idle_connection = format!("SET SESSION wait_timeout = {IDLE_CONNECTION_S}");
        let [begin, commit, rollback] = ["START TRANSACTION", "COMMIT", "ROLLBACK"];
        if dialect == Dialect::MariaDb {
            // A write that loses against another node is decided again: the server must not repeat it by itself.
            let set_up = format!(
                "{COMMON}SET {GALERA}, SESSION wsrep_retry_autocommit = 0; {idle_connection}; \
                 SET SESSION idle_transaction_timeout = {idle_s}, \
                 SESSION idle_write_transaction_timeout = {idle_s}, SESSION max_statement_time = {}; ",
                statement_timeout.as_secs()
            );
            return Session { begin: begin.into(), ..Session::new(dialect, &set_up) };
        }
        // MySQL has no limit on idle transactions. During a transaction, the limit on idle connections is lowered
        // instead.
        let set_up = format!(
            "{COMMON}{idle_connection}; SET SESSION max_execution_time = {}; ",
            statement_timeout.as_millis()
        );
        Session {
            begin: format!("SET SESSION wait_timeout = {idle_s}; {begin}").into(),
            commit: format!("{commit}; {idle_connection}").into(),
            rollback: format!("{rollback}; {idle_connection}").into(),
            ..Session::new(dialect, &set_up)
        }
    }

    fn port(options: &MySqlConnectOptions) -> Option<u16> {
        Some(options.get_port())
    }

    async fn set_up(session: &Session, connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        let (isolation, is_galera) = match session.dialect {
            Dialect::MariaDb => ("tx_isolation", "@@wsrep_on"),
            _ => ("transaction_isolation", "0"),
        };
        let sql = format!(
            "{}SELECT {IS_READ_ONLY}, IF(@@SESSION.autocommit, 'ON', 'OFF'), \
             CAST(@@SESSION.{isolation} AS CHAR), CAST(@@SESSION.sql_mode AS CHAR), \
             CAST(@@SESSION.completion_type AS CHAR), {is_galera} = 1",
            session.set_up
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
        let row = rows.last().ok_or(sqlx::Error::RowNotFound)?;
        // An administrator could still write here, to a primary that was demoted.
        if row.try_get(0)? {
            return Err(NotSent::ReadOnly(READ_ONLY).into());
        }
        let found = |column: usize| row.try_get::<String, _>(column);
        check("autocommit", found(1)?, "ON")?;
        check("transaction isolation", found(2)?, "READ-COMMITTED")?;
        check(
            "sql_mode",
            found(3)?,
            "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
        )?;
        check("completion_type", found(4)?, "NO_CHAIN")?;
        session.epochs.note_galera(row.try_get(5)?);
        Ok(())
    }

    async fn status(connection: &mut MySqlConnection) -> Result<ServerStatus, sqlx::Error> {
        // Servers of one replication have different ids. A server that is not in a cluster shows no status of one.
        let sql = format!(
            "/* standing */ SELECT {IS_READ_ONLY}, CONCAT_WS(' ', @@server_id, @@hostname, @@port, @@datadir); \
             SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_state_uuid', 'wsrep_ready')"
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
        let (row, status) = rows.split_first().ok_or(sqlx::Error::RowNotFound)?;
        let status = status.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
        let status = status.collect::<Result<HashMap<String, String>, sqlx::Error>>()?;
        let cluster = status.get("wsrep_cluster_state_uuid").filter(|uuid| !uuid.is_empty()).cloned();
        let is_ready = status.get("wsrep_ready").is_none_or(|ready| ready == "ON");
        let read_only = match (row.try_get(0)?, is_ready || cluster.is_none()) {
            (true, _) => Some(READ_ONLY),
            (false, false) => Some("it is not a ready node of its cluster"),
            (false, true) => None,
        };
        Ok(ServerStatus { server: Some(row.try_get(1)?), read_only, timeline: None, cluster })
    }

    /// An administrator could still write: nothing else shows that the server was demoted.
    const TEST_EVERY: Duration = Duration::from_secs(1);

    async fn test(_: &Session, connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        let sql = format!("/* test */ SELECT {IS_READ_ONLY}");
        let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?;
        if row.try_get(0)? { Err(NotSent::ReadOnly(READ_ONLY).into()) } else { Ok(()) }
    }

    async fn ask(connection: &mut MySqlConnection, sql: &str) -> Result<Vec<Option<String>>, sqlx::Error> {
        texts(&sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(connection).await?)
    }

    async fn run(connection: &mut MySqlConnection, sql: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.map(drop)
    }
}

fn check(setting: &'static str, found: String, wanted: &'static str) -> Result<(), sqlx::Error> {
    if found == wanted { Ok(()) } else { Err(NotSent::WrongSetting { setting, found, wanted }.into()) }
}
