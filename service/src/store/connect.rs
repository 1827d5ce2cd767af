//! SeaORM's connections, and how connections to SQLite are set.

use std::{sync::Arc, time::Duration};

use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr, RuntimeErr,
    sqlx::{self, Connection, MySqlConnection, PgConnection},
};

use super::{
    StoreError,
    classify::{Purpose, classify},
    dialect::Dialect,
    pool::{CONNECT_TIMEOUT, retry_while_busy},
    session::{Driver, MYSQL_MIGRATION_SESSION, plain_postgres_options, postgres_migration_session},
    sqlite::prepare_file,
    url::DatabaseOptions,
};

/// How long another process's write to a SQLite file is waited for: so short that a batch behind another one hears that it is
/// busy before it is given up as unknown.
pub(super) const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between two tries to write to a SQLite file. SQLite's own pauses grow to 100 ms, with which the one who waits
/// longest has the least chance.
pub(super) const SQLITE_BUSY_POLL: Duration = Duration::from_millis(1);
/// A commit writes whole pages, and the keys of a batch lie on as many: small pages make it small. Measured at 128
/// connections: 18,000 pairs of acquire and release a second, where 4,096 bytes gave 14,000.
const SQLITE_PAGE_BYTES: u32 = 1_024;
/// After so many pages in its log SQLite moves them into the file, within a commit: 16 MiB.
pub(super) const SQLITE_CHECKPOINT_PAGES: &str = "16000";
/// The caches of the connection that writes batches, and of the others: minus so many KiB. The system caches the file too.
pub(super) const SQLITE_WRITER_CACHE_KIB: &str = "-4000";
pub(super) const SQLITE_OTHERS_CACHE_KIB: &str = "-1000";

/// A single connection, for what has to hold a lock of its session: migrations.
pub(super) async fn connect_alone(
    options: &DatabaseOptions,
) -> Result<(DatabaseConnection, Dialect), StoreError> {
    Box::pin(try_once(options)).await?;
    let pool = connect_sea_orm(options).await.map_err(|error| classify(error, Purpose::Read))?;
    let dialect = dialect_of(&pool).await?;
    Ok((pool, dialect))
}

/// A single connection of SeaORM's, to a SQLite file that is there by then or to a server.
pub(super) async fn connect_sea_orm(options: &DatabaseOptions) -> Result<DatabaseConnection, DbErr> {
    if let Some(file) = options.sqlite_file() {
        let prepared = prepare_file(&file, options.creates_file());
        prepared.map_err(|error| DbErr::Conn(RuntimeErr::Internal(error.to_string())))?;
    }
    connect_pool(options, 1).await
}

/// Makes one connection to a server. A pool asks for as long as it has time and then says no more than that its time was up;
/// this tells why no connection can be made.
async fn try_once(options: &DatabaseOptions) -> Result<(), StoreError> {
    let url = options.server_url();
    let connect = async {
        if options.is_sqlite() {
            Ok(())
        } else if options.is_postgres() {
            PgConnection::connect(url).await?.close().await
        } else {
            MySqlConnection::connect(url).await?.close().await
        }
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect).await;
    let connected =
        connected.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
    connected.map_err(|error| StoreError::Unreachable(Box::new(error)))
}

async fn connect_pool(options: &DatabaseOptions, connections: u32) -> Result<DatabaseConnection, DbErr> {
    let mut connect = ConnectOptions::new(options.server_url());
    connect
        .max_connections(connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(plain_postgres_options)
        .map_sqlx_postgres_pool_opts(|options| after_connect(options, postgres_migration_session()))
        .map_sqlx_mysql_pool_opts(|options| after_connect(options, MYSQL_MIGRATION_SESSION.to_owned()))
        .map_sqlx_sqlite_opts(sqlite_session);
    retry_while_busy(|| Database::connect(connect.clone())).await
}

/// Has statements run on a connection when it is made.
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

pub(super) fn sqlite_session(
    options: sqlx::sqlite::SqliteConnectOptions,
) -> sqlx::sqlite::SqliteConnectOptions {
    options
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .synchronous(sqlx::sqlite::SqliteSynchronous::Full)
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
        .page_size(SQLITE_PAGE_BYTES)
        .pragma("wal_autocheckpoint", SQLITE_CHECKPOINT_PAGES)
        .pragma("cache_size", SQLITE_OTHERS_CACHE_KIB)
        .pragma("temp_store", "MEMORY")
        .foreign_keys(false)
}

async fn dialect_of(pool: &DatabaseConnection) -> Result<Dialect, StoreError> {
    use sea_orm::{DatabaseBackend, Statement};
    match pool.get_database_backend() {
        DatabaseBackend::Sqlite => return Ok(Dialect::Sqlite),
        DatabaseBackend::Postgres => return Ok(Dialect::Postgres),
        _ => {}
    }
    let query = Statement::from_string(DatabaseBackend::MySql, "SELECT CAST(VERSION() AS CHAR)");
    let version = async {
        let row = pool.query_one_raw(query).await?;
        row.map_or(Ok(String::new()), |row| row.try_get_by_index::<String>(0))
    };
    let version = version.await.map_err(|error| classify(error, Purpose::Read))?;
    let is_mariadb = version.to_ascii_lowercase().contains("mariadb");
    Ok(if is_mariadb { Dialect::MariaDb } else { Dialect::MySql })
}
