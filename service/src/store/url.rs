//! What `DATABASE_URL` may be. A value that looks like a URL and is none must not become the name of a file: the service
//! would run on a private database, and its replicas would not see each other's locks.
//!
//! A URL may hold a password, so no message of this module shows more of it than a scheme or the name of a parameter.

use std::{fmt, path::Path, time::Duration};

use sea_orm::sqlx::{mysql::MySqlConnectOptions, postgres::PgConnectOptions, sqlite::SqliteConnectOptions};

/// A database URL that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UrlError {
    /// A scheme other than those of the databases supported.
    #[error("the database URL's scheme '{0}' is not one of sqlite, postgres, postgresql, mysql, mariadb")]
    Scheme(String),
    /// It looks like a URL and does not begin like one, or is in the form of another program.
    #[error(
        "the database URL has {0}; write postgres://USER:PASSWORD@HOST/DATABASE, mysql://USER:PASSWORD@HOST/DATABASE, \
         sqlite:///PATH, or the path of a SQLite file"
    )]
    Suspicious(&'static str),
    /// A part of it is missing or cannot be read.
    #[error("the database URL {0}")]
    Part(&'static str),
    /// The driver cannot read it.
    #[error("the database URL cannot be read: {0}")]
    Unreadable(String),
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
    place: DatabasePlace,
    unknown_parameters: Vec<String>,
    migration_wait: Duration,
}

/// For how long another replica's migration is waited for, unless it is said otherwise.
const MIGRATION_WAIT: Duration = Duration::from_secs(30);

/// Where a database is, for logs and messages. There is no user and no password in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabasePlace {
    /// `sqlite`, `postgres`, `mysql` or `mariadb`.
    pub dialect: &'static str,
    /// The host and its port, or a socket; empty for a file.
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
    /// Reads a database URL; a value without a scheme is the path of a SQLite file, to the letter.
    pub fn new(value: &str, max_connections: u32) -> Result<Self, UrlError> {
        let read = read(value)?;
        let Read { url, place, unknown_parameters } = read;
        let max_connections = max_connections.max(2);
        Ok(Self {
            url,
            notify_url: None,
            max_connections,
            place,
            unknown_parameters,
            migration_wait: MIGRATION_WAIT,
        })
    }

    /// The same, with another time for which another replica's migration is waited for.
    #[must_use]
    pub const fn with_migration_wait(mut self, wait: Duration) -> Self {
        self.migration_wait = wait;
        self
    }

    /// For how long another replica's migration is waited for.
    pub(super) const fn migration_wait(&self) -> Duration {
        self.migration_wait
    }

    /// Has notifications of PostgreSQL heard at another URL: past a pooler of transactions, which cannot hand them on.
    pub fn with_notify_url(self, value: &str) -> Result<Self, UrlError> {
        let notify = Self::new(value, self.max_connections)?;
        if !self.is_postgres() || !notify.is_postgres() {
            return Err(UrlError::NotifyUrl);
        }
        Ok(Self { notify_url: Some(notify.url), ..self })
    }

    /// Where PostgreSQL is listened to, if elsewhere.
    pub(super) fn notify_url(&self) -> Option<&str> {
        self.notify_url.as_deref()
    }

    /// The URL of the server itself, where a pooler stands before it.
    pub(super) fn server_url(&self) -> &str {
        self.notify_url().unwrap_or(&self.url)
    }

    /// Where the database is.
    pub const fn place(&self) -> &DatabasePlace {
        &self.place
    }

    /// Names of parameters in the URL that have no effect, because nothing here knows them.
    pub fn unknown_parameters(&self) -> &[String] {
        &self.unknown_parameters
    }

    /// The most connections.
    pub(super) const fn max_connections(&self) -> u32 {
        self.max_connections
    }

    /// The URL, for the drivers.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The SQLite file, read from the URL as its connections read it; `None` for a server.
    pub(super) fn sqlite_file(&self) -> Option<std::path::PathBuf> {
        let options: SqliteConnectOptions = self.is_sqlite().then(|| self.url.parse().ok())??;
        Some(options.get_filename().to_owned())
    }

    /// Whether a SQLite file that is not there is created.
    pub(super) fn creates_file(&self) -> bool {
        self.url
            .split_once('?')
            .is_some_and(|(_, query)| parameters(query).any(|pair| pair == ("mode", "rwc")))
    }

    pub(super) fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres:")
    }

    pub(super) fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }
}

/// What a value comes to.
struct Read {
    url: String,
    place: DatabasePlace,
    unknown_parameters: Vec<String>,
}

/// The databases that run as servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Postgres,
    MySql,
}

impl Server {
    /// The scheme that the driver knows.
    const fn scheme(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::MySql => 3306,
        }
    }

    /// The parameters that its driver knows. It says nothing of others, or logs them with their values.
    const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => &[
                "sslmode",
                "ssl-mode",
                "sslrootcert",
                "ssl-root-cert",
                "ssl-ca",
                "sslcert",
                "ssl-cert",
                "sslkey",
                "ssl-key",
                "statement-cache-capacity",
                "host",
                "hostaddr",
                "port",
                "dbname",
                "user",
                "password",
                "application_name",
                "options",
            ],
            Self::MySql => &[
                "sslmode",
                "ssl-mode",
                "sslca",
                "ssl-ca",
                "charset",
                "collation",
                "sslcert",
                "ssl-cert",
                "sslkey",
                "ssl-key",
                "statement-cache-capacity",
                "socket",
                "timezone",
                "time-zone",
            ],
        }
    }

    fn knows(self, parameter: &str) -> bool {
        self.parameters().contains(&parameter) || self == Self::Postgres && parameter.starts_with("options[")
    }
}

fn read(value: &str) -> Result<Read, UrlError> {
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

/// A server's URL, of what comes after `//`.
fn server_url(server: Server, dialect: &'static str, rest: &str) -> Result<Read, UrlError> {
    const ENCODE: &str =
        "cannot be told apart: in a user or password / ? # @ and % are written %2F %3F %23 %40 and %25";
    if rest.contains('#') {
        return Err(UrlError::Part(ENCODE));
    }
    let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = before_query.split_once('/').unwrap_or((before_query, ""));
    let path = path.trim_start_matches('/');
    if path.contains('@') || path.contains('/') {
        return Err(UrlError::Part(ENCODE));
    }
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = read_host(server, host)?;
    let (known, unknown): (Vec<_>, Vec<_>) =
        parameters(query).filter(|(name, _)| !name.is_empty()).partition(|(name, _)| server.knows(name));
    let given = |names: &[&str]| {
        let last = known.iter().rev().find(|(name, value)| names.contains(name) && !value.is_empty());
        last.map(|(_, value)| decode(value))
    };
    let socket = given(&["host", "hostaddr", "socket"]);
    let host = socket.or_else(|| (!host.is_empty()).then(|| decode(&host)));
    let host = host.ok_or(UrlError::Part("names no host"))?;
    let database = given(&["dbname"]).or_else(|| (!path.is_empty()).then(|| decode(path)));
    let database = database
        .ok_or(UrlError::Part("names no database; it stands after the host, as in …@HOST/DATABASE"))?;
    let mut url = format!("{}://{before_query}", server.scheme());
    let known: Vec<String> = known.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !known.is_empty() {
        url = format!("{url}?{}", known.join("&"));
    }
    check_with_driver(server, &url)?;
    let place = DatabasePlace { dialect, host, database };
    let unknown_parameters = unknown.into_iter().map(|(name, _)| printable(name)).collect();
    Ok(Read { url, place, unknown_parameters })
}

/// The host with its port, where there is one.
fn read_host(server: Server, host: &str) -> Result<String, UrlError> {
    const PORT: UrlError = UrlError::Part("has a port that is not a number from 1 to 65535");
    const HOST: UrlError = UrlError::Part("has a host that is neither a name nor an address");
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(HOST)?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| HOST)?;
        match port.strip_prefix(':') {
            None if !port.is_empty() => return Err(HOST),
            port => (format!("[{address}]"), port),
        }
    } else {
        let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
        (name.to_owned(), port)
    };
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"-._%[:]".contains(&byte) || !byte.is_ascii();
    if !name.bytes().all(may_stand) {
        return Err(HOST);
    }
    match port {
        None if name.is_empty() || name.starts_with("%2") => Ok(name),
        None => Ok(format!("{name}:{}", server.port())),
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok(format!("{name}:{port}")),
            Ok(_) | Err(_) => Err(PORT),
        },
    }
}

/// Whether the driver can read the URL too. What it says may hold a part of it, so it is shown only where that is no secret.
fn check_with_driver(server: Server, url: &str) -> Result<(), UrlError> {
    let read = match server {
        Server::Postgres => url.parse::<PgConnectOptions>().map(drop),
        Server::MySql => url.parse::<MySqlConnectOptions>().map(drop),
    };
    read.map_err(|error| {
        let said = error.to_string();
        let shows_a_secret = secrets(url).iter().any(|secret| said.contains(secret));
        UrlError::Unreadable(if shows_a_secret { "a part of it is malformed".to_owned() } else { said })
    })
}

/// What of a URL may be a password: as it is written, and decoded.
fn secrets(url: &str) -> Vec<String> {
    let (before_query, query) = url.split_once('?').unwrap_or((url, ""));
    let user = before_query.rsplit_once('@').map_or("", |(user, _)| user);
    let password = user.splitn(3, ':').nth(2).unwrap_or_default();
    let of_query = parameters(query).filter(|(name, _)| *name == "password").map(|(_, value)| value);
    let written = of_query.chain([password]).filter(|secret| !secret.is_empty());
    written.flat_map(|secret| [secret.to_owned(), decode(secret)]).collect()
}

/// A SQLite URL, of what comes after `sqlite:`. Unless it says otherwise its file is created when it is not there.
fn sqlite_url(rest: &str) -> Result<Read, UrlError> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let (file, query) = path.split_once('?').unwrap_or((path, "mode=rwc"));
    if file.is_empty() || file == ":memory:" || parameters(query).any(|pair| pair == ("mode", "memory")) {
        return Err(UrlError::InMemory);
    }
    if file.contains("://") {
        return Err(UrlError::Suspicious("another URL in it"));
    }
    // A user and password before a host, as of a server.
    if file.split('/').next().is_some_and(|first| first.contains('@')) {
        return Err(UrlError::Suspicious("an @ where a SQLite file's path begins"));
    }
    for (name, value) in parameters(query) {
        match (name, value) {
            ("mode", "rw" | "rwc") | ("cache", "private" | "shared") => {}
            ("mode", _) => {
                return Err(UrlError::Part("has a mode other than rw and rwc: the service writes"));
            }
            _ => {
                return Err(UrlError::Part(
                    "has a parameter other than mode, which is all that a SQLite file takes",
                ));
            }
        }
    }
    sqlite(format!("sqlite://{file}?{query}"))
}

/// The SQLite URL of a path: nothing in it means anything to a URL.
fn file_url(path: &str) -> Result<Read, UrlError> {
    if path.is_empty() || path == ":memory:" {
        return Err(UrlError::InMemory);
    }
    check_path(path)?;
    // SQLite itself reads a name that begins with `file:` as a URL; one that begins with a folder is a name.
    let path = Path::new(".").join(path);
    let escaped = |byte: u8| match byte {
        b'/' | b'.' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    let path: String = path.to_string_lossy().bytes().map(escaped).collect();
    sqlite(format!("sqlite://{path}?mode=rwc"))
}

/// Refuses a path that may have been meant for something else.
fn check_path(path: &str) -> Result<(), UrlError> {
    let lower = path.to_ascii_lowercase();
    if let Some((scheme, _)) = lower.split_once("://")
        && is_scheme(scheme)
    {
        return Err(UrlError::Scheme(scheme.to_owned()));
    }
    let signs = [
        ("jdbc:", "jdbc: in it"),
        ("odbc:", "odbc: in it"),
        ("://", "a :// without a known scheme before it"),
        (":/", "a :/ in it"),
        ("=", "an = in it"),
        ("@", "an @ in it, and no known scheme before it"),
        ("\"", "quotation marks in it"),
        ("'", "quotation marks in it"),
        ("`", "quotation marks in it"),
        ("${", "a variable in it that nothing replaced"),
        ("$(", "a variable in it that nothing replaced"),
        ("{{", "a variable in it that nothing replaced"),
    ];
    if let Some((_, what)) = signs.iter().find(|(sign, _)| lower.contains(sign)) {
        return Err(UrlError::Suspicious(what));
    }
    if ["sqlite", "postgres", "postgresql", "mysql", "mariadb", "localhost"].contains(&lower.as_str()) {
        return Err(UrlError::Suspicious("a word in it that is neither a URL nor the path of a file"));
    }
    // `user:password/host/database`; a folder of such a name can be written with ./ before it.
    if path.split_once('/').is_some_and(|(first, _)| first.contains(':')) {
        return Err(UrlError::Suspicious("a : before its first /, and no known scheme"));
    }
    let has_port =
        |(_, port): (&str, &str)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !path.contains('/') && path.rsplit_once(':').is_some_and(has_port) {
        return Err(UrlError::Suspicious("a host and a port in it, and no scheme"));
    }
    Ok(())
}

/// Whether a URL may begin so. A word as long as no scheme is may be anything.
fn is_scheme(text: &str) -> bool {
    text.len() <= 24
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn sqlite(url: String) -> Result<Read, UrlError> {
    let options: SqliteConnectOptions =
        url.parse().map_err(|error: sea_orm::sqlx::Error| UrlError::Unreadable(error.to_string()))?;
    let database = options.get_filename().display().to_string();
    let place = DatabasePlace { dialect: "sqlite", host: String::new(), database };
    Ok(Read { url, place, unknown_parameters: Vec::new() })
}

/// The parameters of a query, as they are written.
fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// A part of a URL without its escapes. One that is malformed stays as it is: this is for people.
fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The name of a parameter, as long as it looks like one.
fn printable(name: &str) -> String {
    let is_name =
        name.len() <= 40 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if is_name { name.to_owned() } else { "(not shown)".to_owned() }
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

    fn place(text: &str) -> String {
        DatabaseOptions::new(text, 2).unwrap().place().to_string()
    }

    #[test]
    fn a_value_without_a_scheme_is_the_path_of_a_file_to_the_letter() {
        for path in [
            "locks.sqlite",
            "./locks",
            "../locks",
            "with space.db",
            "my dir/x.db",
            "a:b.db",
            "a<b.db",
            "[x].db",
            "a%41.db",
            "a?b.db",
            "a#b.db",
            "ü.db",
            "oracle:x",
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
            assert_eq!(url(memory), Err(UrlError::InMemory), "{memory}");
        }
    }

    /// A mistyped URL must not become a private file that no other replica sees.
    #[test]
    fn what_may_have_been_meant_for_a_url_is_no_path() {
        for suspicious in [
            "\"postgres://a:S3cret@h/d\"",
            "'postgres://a:S3cret@h/d'",
            " postgres://a:S3cret@h/d",
            "postgres://a:S3cret@h/d\n",
            "postgres://a:S3cret@h/d\r",
            "postgres//a:S3cret@h/d",
            "postgres ://a:S3cret@h/d",
            "postgres:/a:S3cret@h/d",
            "postgres:a:S3cret@h/d",
            "postgres:locks",
            "mysql:locks",
            "jdbc:postgresql://h/d?password=S3cret",
            "JDBC:mariadb:x",
            "postgresql+psycopg2://a:S3cret@h/d",
            "host=h dbname=d password=S3cret",
            "Server=h;Password=S3cret",
            "a:S3cret@tcp(h:1)/d",
            "a:S3cret@h/d",
            "a:S3cret/h/d",
            "sqlite://a:S3cret@h/d",
            "sqlite:postgres://a:S3cret@h/d",
            "./x://y",
            "${DATABASE_URL}",
            "$(DATABASE_URL)",
            "{{ .Values.url }}",
            "localhost",
            "localhost:5432",
            "postgres",
            "a'b.db",
            "a?mode=memory",
        ] {
            let refusal = url(suspicious).unwrap_err().to_string();
            assert!(
                refusal.contains("database URL") && !refusal.contains("S3cret"),
                "{suspicious}: {refusal}"
            );
        }
    }

    #[test]
    fn a_servers_url_has_a_host_a_port_and_a_database_that_can_be_told_apart() {
        for wrong in [
            "postgres://a:S3cret@h:notaport/d",
            "postgres://a:S3cret@h:0/d",
            "postgres://a:S3cret@h:65536/d",
            "postgres://a:S3cret@[::1/d",
            "postgres://a:S3cret@[::z]/d",
            "mysql://a:S3cret@@@/",
            "postgres://a:S3cret/x@h:1/d",
            "postgres://a:123/S3cret@h:1/d",
            "postgres://a:123?S3cret@h:1/d",
            "postgres://a:123#S3cret@h:1/d",
            "postgres://a:S3cret?x@h/d",
            "mysql://a:S3cret/x@h/d",
            "postgres://a:S3cret@h",
            "postgres://a:S3cret@h/",
            "postgres:///d",
            "postgres://",
            "postgres://a:S3cret@/d",
            "postgres://a:S3cret@h(x)/d",
            "postgres://h/d?sslmode=S3cret-no-mode&password=S3cret-no-mode",
            "sqlite:x?mode=ro",
            "sqlite:x?mode=rwc&vfs=unix-none",
        ] {
            let refusal = url(wrong).unwrap_err().to_string();
            assert!(refusal.contains("database URL") && !refusal.contains("S3cret"), "{wrong}: {refusal}");
        }
    }

    #[test]
    fn a_password_may_hold_anything_that_is_escaped_and_is_never_shown() {
        for (text, shown) in [
            ("postgres://me:S3cret@host/db", "postgres://host:5432/db"),
            ("postgres://me:S3c%2Fret@host:1/db", "postgres://host:1/db"),
            ("mysql://me:S3c@ret@host/db", "mysql://host:3306/db"),
            ("postgres://me:S3cret@[::1]:7/db?sslmode=disable", "postgres://[::1]:7/db"),
            ("postgres://host/db?user=me&password=S3cret", "postgres://host:5432/db"),
            ("postgres://me:S3cret@%2Frun%2Fpg/db", "postgres:///run/pg/db"),
            ("postgres:///db?host=/run/pg&password=S3cret", "postgres:///run/pg/db"),
            ("postgres://h?dbname=d", "postgres://h:5432/d"),
            ("mysql:///db?socket=/run/mysqld.sock", "mysql:///run/mysqld.sock/db"),
        ] {
            assert_eq!(place(text), shown, "{text}");
            let options = DatabaseOptions::new(text, 2).unwrap();
            assert!(!format!("{options:?}").contains("S3c"));
        }
        assert_eq!(place("locks.db"), "sqlite:./locks.db");
    }

    /// The driver would log them with their values.
    #[test]
    fn parameters_that_nothing_knows_are_left_out_and_named() {
        let options =
            DatabaseOptions::new("postgres://h/d?pasword=S3cret&sslmode=disable&channel_binding=require", 2)
                .unwrap();
        assert_eq!(options.url, "postgres://h/d?sslmode=disable");
        assert_eq!(options.unknown_parameters(), ["pasword", "channel_binding"]);
        assert!(
            DatabaseOptions::new("postgres://h/d?options=-csearch_path%3Dlocks", 2)
                .unwrap()
                .url
                .contains("%3D")
        );
    }
}
