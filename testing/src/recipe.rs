//! Starts servers.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    command::run,
    leash::{Launch, Leashed},
};

/// How long a start may take, including recovery.
const START: Duration = Duration::from_mins(1);

/// Options of a server, which is durable by default.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The most connections.
    pub connections: u16,
    /// More settings, as the server's command line has them: `timezone=UTC` of `PostgreSQL`, `--binlog-format=ROW` of the others.
    pub settings: &'a [&'a str],
}

/// Starts a server that was set up.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// A command that succeeds when the server lets callers in; without one, an open port suffices.
    pub is_ready: Option<Vec<String>>,
    /// The signal that ends the server without leaving anything behind.
    pub signal: &'static str,
    /// The port that the server listens on.
    pub port: u16,
    /// The URL of the database from which others are created.
    pub url: String,
    /// The folder of the server's files.
    pub folder: PathBuf,
}

impl Recipe {
    /// Starts the server, and waits until it lets callers in. `remove` is a folder that is removed when the server has
    /// ended.
    pub fn start(&self, remove: Option<&Path>) -> Result<Leashed, String> {
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
