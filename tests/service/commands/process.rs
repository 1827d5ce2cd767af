//! Commands as processes.

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::support::{Client, service::PROGRAM};

/// The longest time for a command that waits for nothing.
const IN_TIME: Duration = Duration::from_secs(20);

/// The program as a client of the caller's service and tenant.
pub(crate) fn program(client: &Client, arguments: &[&str]) -> Command {
    program_at(&format!("http://127.0.0.1:{}", client.port()), client.tenant(), arguments)
}

/// The program as a client of these services.
pub(crate) fn program_at(urls: &str, tenant: &str, arguments: &[&str]) -> Command {
    as_client(Command::new(PROGRAM), urls, tenant, arguments)
}

/// The command as a client of these services.
pub(crate) fn as_client(mut command: Command, urls: &str, tenant: &str, arguments: &[&str]) -> Command {
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("DB_LOCKS_URL", urls)
        .env("DB_LOCKS_TENANT", tenant)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // In the background, so that the tests keep their terminal.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Runs the command to its end.
pub(crate) async fn output(mut command: Command) -> Output {
    tokio::time::timeout(IN_TIME, command.output()).await.unwrap().unwrap()
}

/// The exit code and the output of the command.
pub(crate) async fn exit_code(command: Command) -> (Option<i32>, String) {
    let output = output(command).await;
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    (output.status.code(), text)
}

/// A command that keeps running.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that `run` or its command prints.
    pub(crate) async fn line(&mut self) -> String {
        let line = tokio::time::timeout(IN_TIME, self.lines.next_line()).await.unwrap();
        line.unwrap().expect("it ended without a line")
    }

    /// Reads the process ids in the next line.
    pub(crate) async fn process_ids(&mut self) -> Vec<i32> {
        self.line().await.split_whitespace().map(|word| word.parse().unwrap()).collect()
    }

    /// The standard input of the command, if that is a pipe.
    pub(crate) fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).unwrap())).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The exit code; `None` if a signal ended the command.
    pub(crate) async fn end(&mut self) -> Option<i32> {
        tokio::time::timeout(IN_TIME, self.child.wait()).await.unwrap().unwrap().code()
    }
}

/// The state of a process, as `ps` shows it; `None` if there is no such process.
pub(crate) fn state_of(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
}

/// Whether a process runs. A zombie does not.
pub(crate) fn is_alive(pid: i32) -> bool {
    !matches!(state_of(pid), None | Some('Z' | 'X'))
}
