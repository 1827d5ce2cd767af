//! Which database, and how a connection to it is set.

use std::{path::Path, sync::Arc, time::Duration};

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr, sqlx};

use super::{
    StoreError,
    classify::{Purpose, classify},
    dialect::Dialect,
    pool::{CONNECT_TIMEOUT, retry_while_busy},
    session::{Driver, MYSQL_MIGRATION_SESSION, plain_postgres_options, postgres_migration_session},
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

/// A connection string that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// A scheme other than those of the databases supported.
    #[error("the database URL's scheme '{0}' is not one of sqlite, postgres, postgresql, mysql, mariadb")]
    Scheme(String),
    /// SQLite in memory: it would be gone with its connection, and each connection would see another.
    #[error(
        "a SQLite database in memory keeps nothing; name a file, such as sqlite:///tmp/locks.sqlite?mode=rwc"
    )]
    InMemory,
    /// A URL for notifications that is none of PostgreSQL's, or is not needed.
    #[error("the URL for notifications must be one of PostgreSQL, and so must the database's")]
    NotifyUrl,
}

/// Which database to use.
#[derive(Clone)]
pub struct DatabaseOptions {
    /// As SeaORM wants it. Never logged: it may hold a password.
    url: String,
    /// Where PostgreSQL is listened to, if elsewhere. Never logged either.
    notify_url: Option<String>,
    max_connections: u32,
}

impl std::fmt::Debug for DatabaseOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseOptions")
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

impl DatabaseOptions {
    /// Reads a database URL; a value without a scheme is the path of a SQLite file, to the letter.
    pub fn new(value: &str, max_connections: u32) -> Result<Self, UrlError> {
        let (scheme, rest) = value.split_once(':').unwrap_or(("", value));
        let url = match scheme.to_ascii_lowercase().as_str() {
            "sqlite" => sqlite_url(rest)?,
            scheme @ ("postgres" | "postgresql" | "mysql") => format!("{scheme}:{rest}"),
            "mariadb" => format!("mysql:{rest}"),
            unknown if is_scheme(unknown) && rest.starts_with("//") => {
                return Err(UrlError::Scheme(scheme.to_owned()));
            }
            _ => file_url(value)?,
        };
        Ok(Self { url, notify_url: None, max_connections: max_connections.max(2) })
    }

    /// Has notifications of PostgreSQL heard at another URL: past a pooler of transactions, which cannot hand them on.
    pub fn with_notify_url(self, value: &str) -> Result<Self, UrlError> {
        let is_postgres = |url: &str| url.starts_with("postgres://") || url.starts_with("postgresql://");
        if !is_postgres(value) || !is_postgres(&self.url) {
            return Err(UrlError::NotifyUrl);
        }
        Ok(Self { notify_url: Some(value.to_owned()), ..self })
    }

    /// Where PostgreSQL is listened to, if elsewhere.
    pub(super) fn notify_url(&self) -> Option<&str> {
        self.notify_url.as_deref()
    }

    /// The URL, for a connection that is not SeaORM's.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The SQLite file, read from the URL as its other connections read it; `None` for a server.
    pub(super) fn sqlite_file(&self) -> Option<std::path::PathBuf> {
        let options: sqlx::sqlite::SqliteConnectOptions =
            self.is_sqlite().then(|| self.url.parse().ok())??;
        Some(options.get_filename().to_owned())
    }

    /// The most connections.
    pub(super) const fn max_connections(&self) -> u32 {
        self.max_connections
    }

    pub(super) fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }
}

/// Whether a URL may begin so. `./x://y` is a path.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// A SQLite URL, of what comes after `sqlite:`. Unless it says otherwise its file is created when it is not there.
fn sqlite_url(rest: &str) -> Result<String, UrlError> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let (file, query) = path.split_once('?').unwrap_or((path, "mode=rwc"));
    if file.is_empty() || file == ":memory:" || query.contains("mode=memory") {
        return Err(UrlError::InMemory);
    }
    Ok(format!("sqlite://{file}?{query}"))
}

/// The SQLite URL of a path: nothing in it means anything to a URL.
fn file_url(path: &str) -> Result<String, UrlError> {
    if path.is_empty() || path == ":memory:" {
        return Err(UrlError::InMemory);
    }
    // SQLite itself reads a name that begins with `file:` as a URL; one that begins with a folder is a name.
    let path = Path::new(".").join(path);
    let escaped = |byte: u8| match byte {
        b'/' | b'.' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    let path: String = path.to_string_lossy().bytes().map(escaped).collect();
    Ok(format!("sqlite://{path}?mode=rwc"))
}

/// A single connection, for what has to hold a lock of its session: migrations.
pub(super) async fn connect_alone(
    options: &DatabaseOptions,
) -> Result<(DatabaseConnection, Dialect), StoreError> {
    let pool = connect_sea_orm(options).await.map_err(|error| classify(error, Purpose::Read))?;
    let dialect = dialect_of(&pool).await?;
    Ok((pool, dialect))
}

/// A single connection of SeaORM's, to a SQLite file that is there by then or to a server.
pub(super) async fn connect_sea_orm(options: &DatabaseOptions) -> Result<DatabaseConnection, DbErr> {
    create_folder(options);
    connect_pool(options, 1).await
}

fn create_folder(options: &DatabaseOptions) {
    let Some(file) = options.sqlite_file() else { return };
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        // If it cannot be created, opening the file says why.
        let _ = std::fs::create_dir_all(folder);
    }
}

async fn connect_pool(options: &DatabaseOptions, connections: u32) -> Result<DatabaseConnection, DbErr> {
    // The server itself, where a pooler stands before it.
    let url = options.notify_url().unwrap_or(options.url());
    let mut connect = ConnectOptions::new(url);
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<String, UrlError> {
        DatabaseOptions::new(text, 2).map(|options| options.url)
    }

    fn file(value: &str) -> std::path::PathBuf {
        DatabaseOptions::new(value, 2).unwrap().sqlite_file().unwrap()
    }

    #[test]
    fn a_value_without_a_scheme_is_the_path_of_a_file_to_the_letter() {
        for path in [
            "locks.sqlite",
            "./locks",
            "../locks",
            "with space.db",
            "my dir/x.db",
            " lead.db",
            "a:b.db",
            "a<b.db",
            "[x].db",
            "a%41.db",
            "a?b.db",
            "a?mode=memory",
            "a#b.db",
            "ü.db",
            "oracle:x",
            "./x://y",
            "file:x",
            "100%",
        ] {
            assert_eq!(file(path), Path::new(".").join(path), "{path}");
        }
        for path in ["/var/lib/locks", "/abs/a%20b.db", "//twice"] {
            assert_eq!(file(path), Path::new(path), "{path}");
        }
    }

    #[test]
    fn after_a_scheme_the_rules_of_urls_hold() {
        assert_eq!(url("sqlite:locks.sqlite").unwrap(), "sqlite://locks.sqlite?mode=rwc");
        assert_eq!(url("SQLite:locks.sqlite").unwrap(), "sqlite://locks.sqlite?mode=rwc");
        assert_eq!(url("sqlite://locks.sqlite?mode=rw").unwrap(), "sqlite://locks.sqlite?mode=rw");
        assert_eq!(file("sqlite:///var/a%20b"), Path::new("/var/a b"));
        assert_eq!(file("sqlite:////var/lib/locks"), Path::new("/var/lib/locks"));
        assert_eq!(url("Postgres://host/db").unwrap(), "postgres://host/db");
        assert_eq!(url("mariadb://host/db").unwrap(), "mysql://host/db");
    }

    #[test]
    fn other_schemes_and_memory_are_refused() {
        assert!(matches!(url("oracle://x"), Err(UrlError::Scheme(scheme)) if scheme == "oracle"));
        for memory in
            ["sqlite::memory:", "sqlite://:memory:", "sqlite:x?mode=memory", ":memory:", "sqlite:", ""]
        {
            assert!(matches!(url(memory), Err(UrlError::InMemory)), "{memory}");
        }
    }

    #[test]
    fn a_password_does_not_show() {
        let options = DatabaseOptions::new("postgres://me:secret@host/db", 2).unwrap();
        assert!(!format!("{options:?}").contains("secret"));
    }
}
