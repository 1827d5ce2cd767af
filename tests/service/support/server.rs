//! Database servers of this run, as processes.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    Database, Dialect,
    leash::{Launch, Leashed},
    mariadb, postgres, sql,
};

/// How long a start may take, recovery included.
const START: Duration = Duration::from_mins(1);

/// How a server that was set up is started.
pub(super) struct Recipe {
    /// The program and its arguments.
    pub(super) command: Vec<String>,
    /// A command that succeeds when it lets callers in; where there is none, its port tells.
    pub(super) is_ready: Option<Vec<String>>,
    /// The signal that ends it without leaving anything behind.
    pub(super) signal: &'static str,
    /// Where it listens.
    pub(super) port: u16,
    /// The URL of the database in which others are created.
    pub(super) url: String,
    /// Where its files are.
    pub(super) folder: PathBuf,
}

/// A server that all tests share.
pub(super) struct Server {
    /// The URL of the database in which others are created.
    pub(super) url: String,
    /// The process, unless the server was there before; it lives as long as this does.
    pub(super) _process: Option<Leashed>,
}

impl Recipe {
    /// Starts the server for the rest of the run; its files go with it.
    pub(super) fn serve(self) -> Result<Server, String> {
        let process = self.start(Some(&self.folder))?;
        Ok(Server { url: self.url, _process: Some(process) })
    }

    fn start(&self, remove: Option<&Path>) -> Result<Leashed, String> {
        let log = self.folder.join("server.log");
        let command = self.command.clone();
        let mut process =
            Leashed::start(&Launch { command, env: vec![], signal: self.signal, folder: remove, log: &log });
        let deadline = Instant::now() + START;
        while !self.lets_in() {
            if process.ended().is_some() || Instant::now() > deadline {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("it does not start:\n{said}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    fn lets_in(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_ok()
            && self.is_ready.as_ref().is_none_or(|ask| run(Command::new(&ask[0]).args(&ask[1..])).is_ok())
    }
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
    /// Sets a server up and starts it; `None` where its programs are missing.
    pub(crate) async fn start(dialect: Dialect) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let set_up = move || match dialect {
            Dialect::Sqlite => None,
            Dialect::Postgres => postgres::set_up(&path).ok(),
            Dialect::MariaDb => mariadb::set_up(&path).ok(),
        };
        let recipe = tokio::task::spawn_blocking(set_up).await.unwrap()?;
        let process = Some(recipe.start(None).unwrap());
        let name = "db_locks_test";
        sql::execute(&recipe.url, &format!("CREATE DATABASE {name}")).await.unwrap();
        let database = Database::on_server(dialect, &recipe.url, name);
        Some(Self { process, recipe, database, _folder: folder })
    }

    /// A hot standby of it, which streams; `None` where it cannot be made.
    pub(crate) async fn standby(&self) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (path, port) = (folder.path().to_owned(), self.recipe.port);
        let set_up = move || postgres::set_up_standby(&path, port).ok();
        let recipe = tokio::task::spawn_blocking(set_up).await.unwrap()?;
        let process = Some(recipe.start(None).unwrap());
        let database = Database::on_server(Dialect::Postgres, &recipe.url, "db_locks_test");
        Some(Self { process, recipe, database, _folder: folder })
    }

    /// Sends a signal to all of its processes: `STOP` or `CONT`.
    pub(crate) fn signal(&mut self, signal: &str) {
        let Some(process) = &self.process else { return };
        let server = process.id().to_string();
        let script = r#"kill -s "$0" "$1" $(ps -o pid= --ppid "$1")"#;
        // A child may end in between.
        drop(Command::new("sh").args(["-c", script, signal, &server]).output());
    }

    /// Kills it: nothing that it has not written is written any more.
    pub(crate) fn kill(&mut self) {
        // Its drop is a SIGKILL.
        self.process = None;
    }

    /// Starts it again on the same files.
    pub(crate) fn start_again(&mut self) {
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

/// Whether this process is root's.
pub(super) fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

/// Runs a command to its end; what it printed, where it failed.
pub(super) fn run(command: &mut Command) -> Result<(), String> {
    let output = command.current_dir("/").output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    Err(format!("{command:?}: {}\n{out}{err}", output.status))
}

/// Sets a server up and starts it for the rest of the run; its leash removes its folder.
pub(super) fn serve_for_good(
    prefix: &str,
    set_up: fn(&Path) -> Result<Recipe, String>,
) -> Result<Server, String> {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
    let recipe = set_up(folder.path())?;
    let _ = folder.keep();
    recipe.serve()
}
