//! SeaORM's connections: for migrations.

use std::sync::Arc;

use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbErr, RuntimeErr,
    sqlx::{
        self, Connection, MySqlConnection, PgConnection, Row, mysql::MySqlConnectOptions,
        postgres::PgConnectOptions,
    },
};
use tokio::time::timeout;

use super::{
    StoreError,
    classify::{Purpose, classify},
    dialect::Dialect,
    mysql,
    pool::{CONNECT_TIMEOUT, not_connected, retry_while_busy},
    postgres,
    servers::Servers,
    session::Driver,
    sqlite,
    url::DatabaseOptions,
};

/// A single connection for migrations, which hold a lock that belongs to the session.
pub(super) async fn connect_alone(
    options: &DatabaseOptions,
) -> Result<(DatabaseConnection, Dialect), StoreError> {
    let url = writable_url(options).await.map_err(|error| classify(not_connected(error), Purpose::Read))?;
    let dialect = Box::pin(try_once(options, &url)).await?;
    let pool = connect_sea_orm(options, &url).await.map_err(|error| classify(error, Purpose::Read))?;
    Ok((pool, dialect))
}

/// The URL of the host that accepts writes, if there are several hosts.
async fn writable_url(options: &DatabaseOptions) -> Result<String, sqlx::Error> {
    let hosts = options.direct_hosts();
    if !hosts.are_several() {
        return Ok(hosts.first().url.clone());
    }
    let url = async {
        if options.is_postgres() {
            let servers = Servers::<sqlx::Postgres>::start(hosts, postgres_options, Arc::default())?;
            Ok(servers.host().await?.url.clone())
        } else {
            let servers = Servers::<sqlx::MySql>::start(hosts, mysql_options, Arc::default())?;
            Ok(servers.host().await?.url.clone())
        }
    };
    timeout(CONNECT_TIMEOUT, url).await.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut))
}

/// Connection options for PostgreSQL at a URL.
pub(super) fn postgres_options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(postgres::plain_options(url.parse()?))
}

/// Connection options for MariaDB or MySQL at a URL.
pub(super) fn mysql_options(url: &str) -> Result<MySqlConnectOptions, sqlx::Error> {
    Ok(mysql::plain_options(url.parse()?))
}

/// Creates a SQLite file, if the options are for one that is missing and may be created, and corrects its mode.
pub(super) fn prepare_file(options: &DatabaseOptions) -> Result<(), DbErr> {
    let Some(file) = options.sqlite_file() else { return Ok(()) };
    let prepared = sqlite::prepare_file(&file, options.creates_file());
    prepared.map_err(|error| DbErr::Conn(RuntimeErr::Internal(error.to_string())))
}

/// A single SeaORM connection to a server or to a SQLite file. The file is created if the options allow that.
pub(super) async fn connect_sea_orm(
    options: &DatabaseOptions,
    url: &str,
) -> Result<DatabaseConnection, DbErr> {
    prepare_file(options)?;
    let mut connect = ConnectOptions::new(url);
    connect
        .max_connections(1)
        .acquire_timeout(CONNECT_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(postgres::plain_options)
        .map_sqlx_postgres_pool_opts(|options| after_connect(options, postgres::migration_session()))
        .map_sqlx_mysql_pool_opts(|options| after_connect(options, mysql::migration_session()))
        .map_sqlx_sqlite_opts(sqlite::connect_options);
    retry_while_busy(|| Database::connect(connect.clone())).await
}

/// Makes one connection to a server and finds out its dialect. A pool that cannot connect only reports a timeout; this
/// function reports the cause.
async fn try_once(options: &DatabaseOptions, url: &str) -> Result<Dialect, StoreError> {
    let connect = async {
        if options.is_sqlite() {
            Ok(Dialect::Sqlite)
        } else if options.is_postgres() {
            PgConnection::connect(url).await?.close().await?;
            Ok(Dialect::Postgres)
        } else {
            mysql_dialect(&url.parse()?).await.map_err(explain_login_failure)
        }
    };
    let connected = timeout(CONNECT_TIMEOUT, connect).await;
    let connected =
        connected.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
    connected.map_err(|error| StoreError::Unreachable(Box::new(error)))
}

/// Explains the driver's error that it cannot send a password to MySQL without TLS. For that the driver would need a
/// crate whose private keys leak by timing (RUSTSEC-2023-0071).
fn explain_login_failure(error: sqlx::Error) -> sqlx::Error {
    match error {
        sqlx::Error::Configuration(cause) if cause.to_string().contains("RSA") => sqlx::Error::Configuration(
            "the server wants the password over an encrypted connection (its plugin caching_sha2_password): leave \
             ssl-mode=disabled out of DATABASE_URL, turn TLS on at the server, or give the user another plugin"
                .into(),
        ),
        error => error,
    }
}

/// Makes a pool run statements on each new connection.
fn after_connect<DB: Driver>(
    options: sqlx::pool::PoolOptions<DB>,
    statements: String,
) -> sqlx::pool::PoolOptions<DB> {
    let statements: Arc<str> = statements.into();
    options.after_connect(move |connection, _| {
        let statements = statements.clone();
        Box::pin(async move { DB::run(connection, &statements).await })
    })
}

/// MariaDB and MySQL share a protocol; the server's version shows which one it is.
pub(super) async fn mysql_dialect(options: &MySqlConnectOptions) -> Result<Dialect, sqlx::Error> {
    let mut connection = MySqlConnection::connect_with(options).await?;
    let row = sqlx::raw_sql("SELECT CAST(VERSION() AS CHAR)").fetch_one(&mut connection).await?;
    let version: String = row.try_get(0)?;
    let _ = connection.close().await;
    let is_mariadb = version.to_ascii_lowercase().contains("mariadb");
    Ok(if is_mariadb { Dialect::MariaDb } else { Dialect::MySql })
}
