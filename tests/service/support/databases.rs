//! The databases on which every case runs.

use std::{
    io::Write,
    path::Path,
    sync::{Arc, OnceLock},
};

use db_locks_testing::Kind;
use tempfile::TempDir;

use super::{random_text, server::Server, sql};

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
    /// A server.
    MariaDb,
    /// A server.
    MySql,
}

/// An empty database of its own.
#[derive(Clone)]
pub(crate) struct Database {
    /// The kind of the database.
    pub(crate) dialect: Dialect,
    /// The URL.
    pub(crate) url: String,
    /// The URLs at the other nodes of a cluster.
    nodes: Vec<String>,
    _folder: Option<Arc<TempDir>>,
}

impl Dialect {
    /// The kinds that are servers.
    pub(crate) const SERVERS: [Self; 3] = [Self::Postgres, Self::MariaDb, Self::MySql];

    /// The kind of server of this kind of database.
    pub(super) const fn kind(self) -> Option<Kind> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some(Kind::Postgres),
            Self::MariaDb => Some(Kind::MariaDb),
            Self::MySql => Some(Kind::MySql),
        }
    }

    /// The URL of an existing server, which a variable names.
    pub(super) fn given_server(self) -> Option<String> {
        let variable = match self {
            Self::Sqlite => return None,
            Self::Postgres => "TEST_POSTGRES_URL",
            Self::MariaDb => "TEST_MARIADB_URL",
            Self::MySql => "TEST_MYSQL_URL",
        };
        std::env::var(variable).ok()
    }

    /// The server of this kind, started by the first test that needs it; `None` if there is none.
    fn server(self) -> Option<&'static Server> {
        static SERVERS: [OnceLock<Option<Server>>; 4] = [const { OnceLock::new() }; 4];
        let start = || Server::start(self).map_err(|why| self.left_out(why)).ok();
        SERVERS[self as usize].get_or_init(start).as_ref()
    }

    /// Whether tests can run on this kind here.
    pub(crate) fn is_there(self) -> bool {
        self == Self::Sqlite || self.server().is_some()
    }

    /// Reports that tests are skipped, past the test harness, which would hide the message.
    pub(super) fn left_out(self, why: String) -> String {
        let line = format!("\n*** {self:?} IS LEFT OUT of the tests: {why} ***\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        why
    }

    /// An empty database; `None` if the server is missing.
    pub(crate) async fn database(self) -> Option<Database> {
        if self == Self::Sqlite {
            let folder = tempfile::tempdir().unwrap();
            let url = sqlite_url(folder.path());
            return Some(Database { dialect: self, url, nodes: vec![], _folder: Some(Arc::new(folder)) });
        }
        let server = tokio::task::spawn_blocking(move || self.server()).await.unwrap()?;
        let name = format!("db_locks_test_{}", random_text());
        let create = match self {
            // A template to which nobody can be connected.
            Self::Postgres => format!("CREATE DATABASE {name} TEMPLATE template0"),
            _ => format!("CREATE DATABASE {name}"),
        };
        sql::execute(&server.url, &create).await.unwrap();
        Some(Database::on_server(self, &server.url, &name))
    }
}

impl Database {
    /// A database of a server.
    pub(super) fn on_server(dialect: Dialect, server_url: &str, name: &str) -> Self {
        Self { dialect, url: with_database(server_url, name), nodes: vec![], _folder: None }
    }

    /// A database of a cluster, at its nodes.
    pub(crate) fn on_nodes(dialect: Dialect, server_urls: &[String], name: &str) -> Self {
        let mut urls = server_urls.iter().map(|url| with_database(url, name));
        Self { dialect, url: urls.next().unwrap(), nodes: urls.collect(), _folder: None }
    }

    /// The URL for a replica: the nodes of a cluster in turn.
    pub(crate) fn url_of(&self, replica: usize) -> &str {
        let node = replica % (self.nodes.len() + 1);
        node.checked_sub(1).map_or(&self.url, |other| &self.nodes[other])
    }

    /// A URL that names all nodes of a cluster.
    pub(crate) fn all_hosts(&self) -> String {
        let all = [&self.url].into_iter().chain(&self.nodes).map(|url| parts(url).2).collect::<Vec<_>>();
        self.url.replace(all[0], &all.join(","))
    }

    /// The URL of the same database through another port of this machine, without TLS: a proxy in between could not
    /// read TLS, which newer servers offer. Without TLS `MySQL` accepts users that have logged in before.
    pub(crate) fn through_port(&self, port: u16) -> String {
        let (scheme, user, _, rest) = parts(&self.url);
        let clear = if self.dialect == Dialect::Postgres { "" } else { "?ssl-mode=disabled" };
        format!("{scheme}://{user}127.0.0.1:{port}/{rest}{clear}")
    }

    /// The host and port of the server.
    pub(crate) fn server_address(&self) -> String {
        let (_, _, host, _) = parts(&self.url);
        let port = if self.dialect == Dialect::Postgres { 5432 } else { 3306 };
        if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") }
    }
}

/// The URL of a `SQLite` file in a folder.
pub(crate) fn sqlite_url(folder: &Path) -> String {
    format!("sqlite://{}?mode=rwc", folder.join("locks.sqlite").display())
}

/// A URL's scheme, user with its `@`, host with its port, and the rest after the slash.
fn parts(url: &str) -> (&str, &str, &str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let at = authority.rfind('@').map_or(0, |at| at + 1);
    (scheme, &authority[..at], &authority[at..], rest)
}

fn with_database(url: &str, name: &str) -> String {
    let (scheme, user, host, rest) = parts(url);
    let query = rest.split_once('?').map(|(_, query)| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{user}{host}/{name}{query}")
}

/// On a developer's machine a missing server is reported, and its tests are skipped. In CI it is a failure, except for
/// `MySQL`, which no package of Debian's stable release has: if it is not available, CI only reports that.
#[test]
fn every_database_is_there() {
    let missing = [Dialect::Sqlite, Dialect::Postgres, Dialect::MariaDb]
        .into_iter()
        .filter(|dialect| !dialect.is_there())
        .collect::<Vec<_>>();
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(
        missing.is_empty() || !ci,
        "with CI=true no database may be left out, but these are: {missing:?}"
    );
}
