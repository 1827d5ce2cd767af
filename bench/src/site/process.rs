//! A server's process. Its output goes to a file, and it is ended by its id when its guard is dropped.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::bail;
use db_locks_testing::{
    free_port,
    leash::{self, Leashed},
};

/// The time after which a server that does not end is killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A command line with its environment.
#[derive(Debug)]
pub(super) struct Launch {
    command: Vec<String>,
    env: Vec<(String, String)>,
}

impl Launch {
    /// A program, in the environment of this one.
    pub(super) fn new(program: &Path) -> Self {
        Self::of(vec![program.display().to_string()])
    }

    /// A program with its arguments.
    pub(super) fn of(command: Vec<String>) -> Self {
        Self { command, env: std::env::vars().collect() }
    }

    /// Adds arguments.
    pub(super) fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub(super) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the process. `signal` will end it.
    pub(super) fn start(self, log: PathBuf, signal: &'static str) -> Process {
        let Self { command, env } = self;
        let name = command.iter().rfind(|word| word.starts_with('/')).cloned().unwrap_or_default();
        let leashed = Leashed::start(&leash::Launch { command, env, signal, folder: None, log: &log });
        Process { leashed, name, log, signal }
    }
}

/// A process that runs until this is dropped.
#[derive(Debug)]
pub(super) struct Process {
    leashed: Leashed,
    name: String,
    log: PathBuf,
    signal: &'static str,
}

impl Process {
    /// The process id.
    pub(super) fn id(&self) -> u32 {
        self.leashed.id()
    }

    /// Waits until the process is ready, has ended, or a minute has passed.
    pub(super) async fn ready(&mut self, mut is_ready: impl AsyncFnMut() -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_mins(1) {
            if let Some(status) = self.leashed.ended() {
                bail!("{} ended ({status}): {}", self.name, tail(&self.log));
            }
            if is_ready().await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("{} does not answer: {}", self.name, tail(&self.log))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let asked = Instant::now();
        self.leashed.signal(self.signal);
        while self.leashed.ended().is_none() {
            if asked.elapsed() > PATIENCE {
                // The drop kills the process.
                eprintln!("note: {} did not end in {} s and is killed", self.name, PATIENCE.as_secs());
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// An address on the loopback interface that was free a moment ago.
pub(super) fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

/// The last lines of a log, for a message.
fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
