//! Sessions of PostgreSQL, directly or behind a pooler.

use std::time::Duration;

use async_trait::async_trait;
use sea_orm::sqlx::{
    self, AssertSqlSafe, ConnectOptions, Connection, PgConnection, Postgres, Row, postgres::PgConnectOptions,
};

use super::replication::is_unsupported;
use crate::store::{
    dialect::{Dialect, POSTGRES_STARTED},
    not_sent::NotSent,
    server_status::{ServerStatus, Timeline},
    session::{Driver, IDLE_IN_TRANSACTION, Session, texts},
};

/// Every statement finds its rows by key, and its plan is made once. A plan that was made for an empty table must not
/// remain a scan: with these settings the planner can only use an index, and for rows in an order the index of that order.
pub const PLANNER_SETTINGS: &[(&str, &str)] = &[
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_sort", "off"),
    ("jit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];
/// The server sends keepalives to a silent client. So no firewall forgets the connection, and the locks of a replica
/// that vanished are released soon. Times are in seconds, except for the last one, which is in milliseconds.
const KEEPALIVE: &[(&str, &str)] = &[
    ("tcp_keepalives_idle", "15"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "15000"),
];
/// A setting that no server has. It shows whether the session's settings are still there.
const MARK: &str = "db_locks.session";
/// Why a server accepts no writes.
const IN_RECOVERY: &str = "it is in recovery, as a standby is";
const READ_ONLY: &str = "transactions are read-only by default";
/// How long to wait for a row lock: longer than other replicas' commits take. After that, locked rows are searched for.
const LOCK_TIMEOUT_MS: &str = "400";

/// The settings that correctness and plans need, for a session or, with the scope `LOCAL`, for a transaction.
fn settings(scope: &str, statement_timeout: Duration, idle_timeout: Duration) -> String {
    let statement_timeout = statement_timeout.as_millis().to_string();
    let idle_timeout = idle_timeout.as_millis().to_string();
    let others = [
        // The server answers a commit that did not reach its standby with a warning.
        ("client_min_messages", "warning"),
        ("lock_timeout", LOCK_TIMEOUT_MS),
        ("statement_timeout", statement_timeout.as_str()),
        ("idle_in_transaction_session_timeout", idle_timeout.as_str()),
    ];
    let settings = PLANNER_SETTINGS.iter().copied().chain(others);
    let settings = settings
        .fold(String::new(), |text, (name, value)| text + &format!("SET {scope} {name} = '{value}'; "));
    // Values other than 'off' are for the operator to choose: they concern standbys.
    let is_local = scope == "LOCAL";
    format!(
        "{settings}SELECT set_config('synchronous_commit', 'on', {is_local}) \
         WHERE current_setting('synchronous_commit') = 'off'; "
    )
}

/// Statements that set up a connection for migrations, which have no time limit.
pub(in super::super) fn migration_session() -> String {
    settings("SESSION", Duration::ZERO, Duration::ZERO)
}

/// Options that poolers accept. Poolers forget or refuse all options but the database and the user.
pub(in super::super) fn plain_options(options: PgConnectOptions) -> PgConnectOptions {
    options.application_name("db-locks").extra_float_digits(None).disable_statement_logging()
}

/// Finds out whether a pooler gives each transaction a server connection of its choice.
///
/// Without such a pooler, two connections that are open at the same time keep a server process each. Behind it the
/// second one gets the process of the first, which is idle; or, if other clients were faster, the first one gets
/// another process afterwards.
pub(in super::super) async fn pools_transactions(options: &PgConnectOptions) -> Result<bool, sqlx::Error> {
    const PROCESS: &str = "SELECT pg_backend_pid()";
    let mut first = PgConnection::connect_with(options).await?;
    let mut second = PgConnection::connect_with(options).await?;
    let before = one::<i32>(&mut first, PROCESS).await?;
    // The second connection keeps its process until it ends its transaction.
    let begin = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_backend_pid()";
    let taken = one::<i32>(&mut second, begin).await?;
    let after = one::<i32>(&mut first, PROCESS).await?;
    Postgres::run(&mut second, "ROLLBACK").await?;
    let _ = first.close().await;
    let _ = second.close().await;
    Ok(before == taken || before != after)
}

/// The first value of the last row.
async fn one<T>(connection: &mut PgConnection, sql: &'static str) -> Result<T, sqlx::Error>
where
    T: for<'v> sqlx::Decode<'v, Postgres> + sqlx::Type<Postgres>,
{
    let rows = sqlx::raw_sql(sql).fetch_all(connection).await?;
    rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get(0)
}

/// An answer; `None` if the server lacks a function (it may only speak PostgreSQL's protocol), or denies it to this
/// user.
fn unless_unsupported<T>(answer: Result<T, sqlx::Error>) -> Result<Option<T>, sqlx::Error> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(sqlx::Error::Database(error)) if is_unsupported(&*error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl Driver for Postgres {
    fn session(dialect: Dialect, statement_timeout: Duration, transaction_pooling: bool) -> Session {
        if transaction_pooling {
            let settings = settings("LOCAL", statement_timeout, IDLE_IN_TRANSACTION);
            let begin =
                format!("BEGIN ISOLATION LEVEL READ COMMITTED; {settings}SELECT {POSTGRES_STARTED}::text")
                    .into();
            return Session { transaction_pooling, begin, ..Session::new(dialect, "") };
        }
        let keepalive = KEEPALIVE.iter().map(|(name, value)| format!("SET {name} = '{value}'; "));
        let set_up = format!(
            "{}{}SET default_transaction_isolation = 'read committed'; SET {MARK} = 'ours'; ",
            settings("SESSION", statement_timeout, IDLE_IN_TRANSACTION),
            keepalive.collect::<String>()
        );
        Session::new(dialect, &set_up)
    }

    fn port(options: &PgConnectOptions) -> Option<u16> {
        Some(options.get_port())
    }

    async fn set_up(session: &Session, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let sql = format!(
            "{}SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', \
             current_setting('default_transaction_isolation')",
            session.set_up
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
        let row = rows.last().ok_or(sqlx::Error::RowNotFound)?;
        if row.try_get(0)? {
            return Err(NotSent::ReadOnly(IN_RECOVERY).into());
        }
        if row.try_get(1)? {
            return Err(NotSent::ReadOnly(READ_ONLY).into());
        }
        let (setting, wanted) = ("transaction isolation", "read committed");
        let found: String = row.try_get(2)?;
        if found == wanted || session.transaction_pooling {
            return Ok(());
        }
        Err(NotSent::WrongSetting { setting, found, wanted }.into())
    }

    async fn status(connection: &mut PgConnection) -> Result<ServerStatus, sqlx::Error> {
        let writes =
            "/* standing */ SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'";
        let row = sqlx::raw_sql(writes).fetch_one(&mut *connection).await?;
        let read_only = match (row.try_get(0)?, row.try_get(1)?) {
            (true, _) => Some(IN_RECOVERY),
            (false, true) => Some(READ_ONLY),
            (false, false) => None,
        };
        let started = "SELECT (SELECT system_identifier::text FROM pg_control_system()) || ' ' || \
                       (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint::text";
        let server = unless_unsupported(one(connection, started).await)?;
        let timeline = if read_only.is_none() { Self::timeline(connection).await? } else { None };
        Ok(ServerStatus { server, read_only, timeline, cluster: None })
    }

    async fn timeline(connection: &mut PgConnection) -> Result<Option<Timeline>, sqlx::Error> {
        // The control file shows the former timeline for a while after a promotion.
        let sql = "/* timeline */ SELECT (SELECT system_identifier::text FROM pg_control_system()), \
                   CASE WHEN pg_is_in_recovery() THEN '' \
                   ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END";
        let Some(row) = unless_unsupported(sqlx::raw_sql(sql).fetch_one(connection).await)? else {
            return Ok(None);
        };
        let (system, number): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        Ok(u32::from_str_radix(&number, 16).ok().map(|number| Timeline { system, number }))
    }

    async fn test(session: &Session, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if session.transaction_pooling {
            return connection.ping().await;
        }
        let sql = "SELECT coalesce(current_setting('db_locks.session', true), '')";
        let found: String = one(connection, sql).await?;
        if found == "ours" {
            return Ok(());
        }
        tracing::warn!(
            "the settings of a database session are gone; a pooler in front of the server must pool sessions, or must have \
             pooled transactions since the start of this program"
        );
        Err(NotSent::WrongSetting { setting: MARK, found, wanted: "ours" }.into())
    }

    async fn ask(connection: &mut PgConnection, sql: &str) -> Result<Vec<Option<String>>, sqlx::Error> {
        texts(&sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(connection).await?)
    }

    async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.map(drop)
    }
}
