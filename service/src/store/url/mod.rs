//! Reads `DATABASE_URL`. A value that looks like a URL and is none must not become the name of a file: the service
//! would run on a private database, and its replicas would not see each other's locks.
//!
//! A URL may hold a password, so no message of this module shows more of it than a scheme or the name of a parameter.

mod file;
mod hosts;
mod server;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests;
mod text;

use std::{fmt, time::Duration};

use sea_orm::sqlx::sqlite::SqliteConnectOptions;

pub(super) use self::hosts::{Host, Hosts};
use self::{
    file::{file_url, sqlite_url},
    server::{Server, server_url},
    text::parameters,
};

/// A database URL that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UrlError {
    /// A scheme other than those of the databases supported.
    #[error("the database URL's scheme '{0}' is not one of sqlite, postgres, postgresql, mysql, mariadb")]
    Scheme(String),
    /// The value looks like a URL but does not begin like one, or it has the form that another program uses.
    #[error(
        "the database URL has {0}; write postgres://USER:PASSWORD@HOST/DATABASE, mysql://USER:PASSWORD@HOST/DATABASE, \
         sqlite:///PATH, or the path of a SQLite file"
    )]
    Suspicious(&'static str),
    /// A part of the URL is missing or cannot be read.
    #[error("the database URL {0}")]
    Part(&'static str),
    /// The driver cannot read the URL.
    #[error("the database URL cannot be read: {0}")]
    Unreadable(String),
    /// A SQLite database in memory. It would be gone with its connection, and each connection would see another
    /// database.
    #[error(
        "a SQLite database in memory keeps nothing; name a file, such as sqlite:///tmp/locks.sqlite?mode=rwc"
    )]
    InMemory,
    /// The URL for notifications, or that of the database, is not a PostgreSQL URL.
    #[error("the URL for notifications must be one of PostgreSQL, and so must the database's")]
    NotifyUrl,
}

/// The database to use.
#[derive(Clone)]
pub struct DatabaseOptions {
    hosts: Hosts,
    /// The servers that send PostgreSQL's notifications, if they are others than `hosts`.
    notify_hosts: Option<Hosts>,
    max_connections: u32,
    place: DatabasePlace,
    unknown_parameters: Vec<String>,
    migration_wait: Duration,
}

/// How long to wait for another replica's migration by default.
const MIGRATION_WAIT: Duration = Duration::from_secs(30);

/// The place of a database, for logs and messages. It names no user and no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabasePlace {
    /// `sqlite`, `postgres`, `mysql` or `mariadb`.
    pub dialect: &'static str,
    /// The host and its port, several separated by commas, or a socket; empty for a file.
    pub host: String,
    /// The database's name, or the path of the file.
    pub database: String,
}

impl fmt::Display for DatabasePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.is_empty() {
            write!(f, "{}:{}", self.dialect, self.database)
        } else {
            write!(f, "{}://{}/{}", self.dialect, self.host, self.database)
        }
    }
}

impl fmt::Debug for DatabaseOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseOptions")
            .field("place", &self.place)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

impl DatabaseOptions {
    /// Reads a database URL. A value without a scheme is the literal path of a SQLite file.
    pub fn new(value: &str, max_connections: u32) -> Result<Self, UrlError> {
        let read = read(value)?;
        let ParsedUrl { hosts, place, unknown_parameters } = read;
        let max_connections = max_connections.max(2);
        Ok(Self {
            hosts,
            notify_hosts: None,
            max_connections,
            place,
            unknown_parameters,
            migration_wait: MIGRATION_WAIT,
        })
    }

    /// Sets how long to wait for another replica's migration.
    #[must_use]
    pub const fn with_migration_wait(mut self, wait: Duration) -> Self {
        self.migration_wait = wait;
        self
    }

    /// How long to wait for another replica's migration.
    pub(super) const fn migration_wait(&self) -> Duration {
        self.migration_wait
    }

    /// Sets another URL for PostgreSQL's notifications. It leads past a transaction pooler, which cannot pass them on.
    pub fn with_notify_url(self, value: &str) -> Result<Self, UrlError> {
        let notify = Self::new(value, self.max_connections)?;
        if !self.is_postgres() || !notify.is_postgres() {
            return Err(UrlError::NotifyUrl);
        }
        Ok(Self { notify_hosts: Some(notify.hosts), ..self })
    }

    /// The servers, or the file.
    pub(super) const fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// The servers that send PostgreSQL's notifications, if they are others than `hosts`.
    pub(super) const fn notify_hosts(&self) -> Option<&Hosts> {
        self.notify_hosts.as_ref()
    }

    /// The servers themselves, if a pooler is in front of them.
    pub(super) fn direct_hosts(&self) -> &Hosts {
        self.notify_hosts().unwrap_or(&self.hosts)
    }

    /// The place of the database.
    pub const fn place(&self) -> &DatabasePlace {
        &self.place
    }

    /// Names of parameters in the URL that have no effect, because the driver does not know them.
    pub fn unknown_parameters(&self) -> &[String] {
        &self.unknown_parameters
    }

    /// The most connections.
    pub(super) const fn max_connections(&self) -> u32 {
        self.max_connections
    }

    /// The SQLite file, read from the URL in the way of its connections; `None` for a server.
    pub(super) fn sqlite_file(&self) -> Option<std::path::PathBuf> {
        let options: SqliteConnectOptions =
            self.is_sqlite().then(|| self.hosts.first().url.parse().ok())??;
        Some(options.get_filename().to_owned())
    }

    /// Whether a missing SQLite file is created.
    pub(super) fn creates_file(&self) -> bool {
        self.hosts
            .first()
            .url
            .split_once('?')
            .is_some_and(|(_, query)| parameters(query).any(|pair| pair == ("mode", "rwc")))
    }

    pub(super) fn is_postgres(&self) -> bool {
        self.hosts.first().url.starts_with("postgres:")
    }

    pub(super) fn is_sqlite(&self) -> bool {
        self.hosts.first().url.starts_with("sqlite:")
    }
}

/// The result of reading a database URL.
struct ParsedUrl {
    hosts: Hosts,
    place: DatabasePlace,
    unknown_parameters: Vec<String>,
}

fn read(value: &str) -> Result<ParsedUrl, UrlError> {
    if value.trim() != value {
        return Err(UrlError::Suspicious("spaces around it"));
    }
    if value.contains(char::is_control) {
        return Err(UrlError::Suspicious("a control character in it"));
    }
    let quotes = ['"', '\'', '`'];
    if value.starts_with(quotes) || value.ends_with(quotes) {
        return Err(UrlError::Suspicious("quotation marks around it"));
    }
    let (scheme, rest) = value.split_once(':').unwrap_or(("", value));
    let server = match scheme.to_ascii_lowercase().as_str() {
        "sqlite" => return sqlite_url(rest),
        "postgres" | "postgresql" => Server::Postgres,
        "mysql" | "mariadb" => Server::MySql,
        _ => return file_url(value),
    };
    let dialect = if scheme.eq_ignore_ascii_case("mariadb") { "mariadb" } else { server.scheme() };
    match rest.strip_prefix("//") {
        Some(rest) => server_url(server, dialect, rest),
        None => Err(UrlError::Suspicious("no // after its scheme")),
    }
}
