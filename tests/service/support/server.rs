//! Database servers of this test run, as processes.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use db_locks_testing::{Kind, Options, Recipe, leash::Leashed, set_up_standby};
use tempfile::TempDir;

use super::{Database, Dialect, sql};

/// The longest start while another process still has the files of a killed server.
const START: Duration = Duration::from_mins(1);

/// A server that all tests share.
pub(super) struct Server {
    /// The URL of the database from which others are created.
    pub(super) url: String,
    /// The process, unless the server ran before the tests. It ends on drop.
    _process: Option<Leashed>,
}

impl Server {
    /// The server that a variable names, or a new one. The error says why there is none.
    pub(super) fn start(dialect: Dialect) -> Result<Self, String> {
        if let Some(url) = dialect.given_server() {
            return Ok(Self { url, _process: None });
        }
        let folder = tempfile::Builder::new().prefix("db-locks-server-").tempdir().unwrap();
        let recipe = set_up(dialect, folder.path())?;
        // The leash removes the folder.
        let process = recipe.start(Some(&folder.keep()))?;
        Ok(Self { url: recipe.url, _process: Some(process) })
    }
}

fn set_up(dialect: Dialect, folder: &Path) -> Result<Recipe, String> {
    let kind = dialect.kind().ok_or("a file has no server")?;
    db_locks_testing::set_up(&kind.programs()?, folder, options(kind))
}

/// An unusual time zone, since nothing may depend on the machine's.
const fn options(kind: Kind) -> Options<'static> {
    let settings: &[&str] = match kind {
        Kind::Postgres => &["timezone=Asia/Kathmandu"],
        // With a binary log, as for backups or replicas.
        Kind::MariaDb => &[
            "--innodb-buffer-pool-size=64M",
            "--default-time-zone=+05:45",
            "--log-bin=binlog",
            "--server-id=1",
        ],
        // The binary log is on by default.
        Kind::MySql => &[
            "--innodb-buffer-pool-size=64M",
            "--default-time-zone=+05:45",
            "--gtid-mode=ON",
            "--enforce-gtid-consistency=ON",
        ],
    };
    Options { connections: 300, settings }
}

/// The statements that make a server a replica of the one at a port. A standby of `PostgreSQL` is one from its start.
fn replicate(dialect: Dialect, source: u16) -> Vec<String> {
    let (change, start) = match dialect {
        Dialect::MariaDb => (
            format!(
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {source}, MASTER_USER = 'locks', \
                 MASTER_PASSWORD = 'locks', MASTER_USE_GTID = slave_pos"
            ),
            "START SLAVE",
        ),
        Dialect::MySql => (
            format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {source}, \
                 SOURCE_USER = 'locks', SOURCE_PASSWORD = 'locks', SOURCE_AUTO_POSITION = 1, SOURCE_SSL = 1"
            ),
            "START REPLICA",
        ),
        Dialect::Sqlite | Dialect::Postgres => return vec![],
    };
    vec![change, start.to_owned()]
}

/// A server of one test, which may be killed.
pub(crate) struct OwnServer {
    process: Option<Leashed>,
    recipe: Recipe,
    /// An empty database.
    pub(crate) database: Database,
    _folder: TempDir,
}

impl OwnServer {
    /// Sets a server up and starts it; `None` if its programs are missing.
    pub(crate) async fn start(dialect: Dialect) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let set_up = move || set_up(dialect, &path).map_err(|why| dialect.left_out(why)).ok();
        let recipe = tokio::task::spawn_blocking(set_up).await.unwrap()?;
        let process = Some(recipe.start(None).unwrap());
        let name = "db_locks_test";
        sql::execute(&recipe.url, &format!("CREATE DATABASE {name}")).await.unwrap();
        let database = Database::on_server(dialect, &recipe.url, name);
        Some(Self { process, recipe, database, _folder: folder })
    }

    /// A hot standby or replica of this server that streams; `None` if it cannot be created.
    pub(crate) async fn standby(&self) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (path, port, dialect) = (folder.path().to_owned(), self.recipe.port, self.database.dialect);
        let set_up = move || {
            let kind = dialect.kind()?;
            let programs = kind.programs().ok()?;
            if kind == Kind::Postgres {
                return set_up_standby(&programs, &path, options(kind), port).ok();
            }
            let mut recipe = db_locks_testing::set_up(&programs, &path, options(kind)).ok()?;
            recipe.command.extend(["--server-id=2", "--read-only=1"].map(str::to_owned));
            // MySQL's default.
            recipe.command.extend((kind == Kind::MariaDb).then(|| "--log-slave-updates".to_owned()));
            Some(recipe)
        };
        let recipe = tokio::task::spawn_blocking(set_up).await.unwrap()?;
        let process = Some(recipe.start(None).unwrap());
        for statement in replicate(dialect, port) {
            sql::execute(&recipe.url, &statement).await.unwrap();
        }
        let database = Database::on_server(dialect, &recipe.url, "db_locks_test");
        Some(Self { process, recipe, database, _folder: folder })
    }

    /// Sends a signal to all processes of the server: `STOP` or `CONT`.
    pub(crate) fn signal(&mut self, signal: &str) {
        let Some(process) = &self.process else { return };
        let server = process.id().to_string();
        let script = r#"kill -s "$0" "$1" $(ps -o pid= --ppid "$1")"#;
        // A child may have ended meanwhile.
        drop(Command::new("sh").args(["-c", script, signal, &server]).output());
    }

    /// Kills the server: it writes nothing more.
    pub(crate) fn kill(&mut self) {
        // The drop sends SIGKILL.
        self.process = None;
    }

    /// Starts the server again on the same files.
    pub(crate) fn start_again(&mut self) {
        self.start_again_with(&[]);
    }

    /// The same, with more arguments.
    pub(crate) fn start_again_with(&mut self, arguments: &[&str]) {
        self.recipe.command.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let deadline = Instant::now() + START;
        loop {
            // Children of a killed server may hold its files for a moment.
            match self.recipe.start(None) {
                Ok(process) => {
                    self.process = Some(process);
                    return;
                }
                Err(why) => assert!(Instant::now() < deadline, "{why}"),
            }
        }
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal(self.recipe.signal);
            let deadline = Instant::now() + Duration::from_secs(5);
            while process.ended().is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
