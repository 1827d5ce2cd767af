//! The program under test, as a process.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Output},
    time::Duration,
};

use tempfile::TempDir;

use super::{
    Client, Dialect, SOON,
    databases::sqlite_url,
    eventually,
    leash::{Launch, Leashed},
    names::free_port,
    wire,
};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_db-locks");

/// The longest time of a start, including migrations.
const START: Duration = Duration::from_secs(30);

/// A running service.
pub(crate) struct Service {
    process: Leashed,
    port: u16,
    log: PathBuf,
    _folder: Option<TempDir>,
}

impl Service {
    /// Starts a service and waits until it is ready.
    pub(crate) async fn start(url: &str) -> Self {
        Self::start_with(url, &[]).await
    }

    /// The same, with settings as environment variables.
    pub(crate) async fn start_with(url: &str, settings: &[(&str, &str)]) -> Self {
        let mut service = Self::spawn(url, settings);
        service.until_ready().await;
        service
    }

    /// The same, on a port that the settings name.
    pub(crate) async fn start_at(url: &str, settings: &[(&str, &str)], port: u16) -> Self {
        let mut service = Self::spawn(url, settings);
        service.port = port;
        service.until_ready().await;
        service
    }

    /// Starts a service without waiting for anything.
    pub(crate) fn spawn(url: &str, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = log_in(&folder);
        let (process, port) = launch(url, settings, None, &log);
        Self { process, port, log, _folder: Some(folder) }
    }

    /// Starts a service whose standard error is this FIFO, which somebody has to have open.
    pub(crate) async fn start_into(fifo: &Path, url: &str, settings: &[(&str, &str)]) -> Self {
        let (process, port) = launch(url, settings, None, fifo);
        let mut service = Self { process, port, log: PathBuf::new(), _folder: None };
        service.until_ready().await;
        service
    }

    /// Starts a service that stays until the test process ends.
    pub(crate) async fn start_for_good(url: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), url).await
    }

    async fn start_in(folder: TempDir, url: &str) -> Self {
        let log = log_in(&folder);
        let (process, port) = launch(url, &[], Some(folder.path()), &log);
        // Its leash removes it.
        let _ = folder.keep();
        let mut service = Self { process, port, log, _folder: None };
        service.until_ready().await;
        service
    }

    /// Waits until `/ready` is 200.
    pub(crate) async fn until_ready(&mut self) {
        let deadline = std::time::Instant::now() + START;
        let ready = wire::request("GET", "/ready", &[], b"");
        loop {
            if let Ok(answer) = wire::exchange(self.port, &ready).await
                && answer.status == 200
            {
                return;
            }
            let ended = self.process.ended();
            let late = std::time::Instant::now() > deadline;
            assert!(ended.is_none() && !late, "not ready ({ended:?}); its log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A client with a tenant of its own.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.port)
    }

    /// The port of the service.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sends the service a signal: `KILL`, `STOP`, `CONT`, `TERM`.
    pub(crate) fn signal(&mut self, signal: &str) {
        self.process.signal(signal);
    }

    /// Waits for the end of the process.
    pub(crate) async fn end(&mut self, within: Duration) -> ExitStatus {
        eventually("the service ends", within, || std::future::ready(self.process.ended())).await
    }

    /// Waits for a line of the log that contains this text, and returns the line. The log may be written after an answer.
    pub(crate) async fn until_logged(&self, text: &str) -> String {
        let find = async || self.log().lines().find(|line| line.contains(text)).map(str::to_owned);
        eventually(&format!("{text:?} is logged"), SOON, find).await
    }

    /// Stops the service, and returns its whole log.
    pub(crate) async fn log_at_end(&mut self) -> String {
        self.signal("TERM");
        self.end(SOON).await;
        self.log()
    }

    /// What is written of the log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines = log.lines().collect::<Vec<_>>();
            let tail = lines[lines.len().saturating_sub(30)..].join("\n");
            eprintln!("the last lines of the service on port {}:\n{tail}\n", self.port);
        }
    }
}

fn log_in(folder: &TempDir) -> PathBuf {
    folder.path().join("service.log")
}

/// Starts a service that logs to `log`. Its leash removes `folder` at its end.
fn launch(url: &str, settings: &[(&str, &str)], folder: Option<&Path>, log: &Path) -> (Leashed, u16) {
    let port = free_port();
    let mut env = vec![("DB_LOCKS_LISTEN".to_owned(), format!("127.0.0.1:{port}"))];
    env.extend(environment(url, settings));
    let process =
        Leashed::start(&Launch { command: vec![PROGRAM.to_owned()], env, signal: "KILL", folder, log });
    (process, port)
}

fn environment(url: &str, settings: &[(&str, &str)]) -> Vec<(String, String)> {
    [("DATABASE_URL", url)]
        .iter()
        .chain(settings)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Runs the program with arguments to its end.
pub(crate) async fn run_program(url: &str, arguments: &[&str]) -> Output {
    run_program_with(url, &[], arguments).await
}

/// The same, with settings as environment variables.
pub(crate) async fn run_program_with(url: &str, settings: &[(&str, &str)], arguments: &[&str]) -> Output {
    let run = tokio::process::Command::new(PROGRAM)
        .args(arguments)
        .env_clear()
        .envs(environment(url, settings))
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(START, run).await.unwrap().unwrap()
}

/// The service of the conformance cases on a database, started by the first case; `None` if the database is missing.
pub(crate) async fn shared(dialect: Dialect) -> Option<Client> {
    type Shared = tokio::sync::OnceCell<Option<Service>>;
    static SHARED: [Shared; 4] = [const { Shared::const_new() }; 4];
    let start = async || {
        let database = dialect.database().await?;
        let folder = tempfile::tempdir().unwrap();
        let url = if dialect == Dialect::Sqlite { sqlite_url(folder.path()) } else { database.url };
        Some(Service::start_in(folder, &url).await)
    };
    let shared = SHARED[dialect as usize].get_or_init(start).await;
    shared.as_ref().map(Service::client)
}
