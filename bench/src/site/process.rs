//! A server's process: started with its output in a file, ended by its own id when its guard is dropped.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A user of the system, as `/etc/passwd` has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct User {
    /// The user's number.
    pub(super) uid: u32,
    /// The number of its first group.
    pub(super) gid: u32,
}

/// How a program is to be run.
#[derive(Debug)]
pub(super) struct Launch {
    command: Command,
    name: String,
}

impl Launch {
    /// A program, which is told to end should this one vanish without ending it. That is tied to the thread that starts
    /// it: servers are started from the main thread, which stays.
    pub(super) fn new(setpriv: Option<&Path>, program: &Path) -> Self {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut command = match setpriv {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "TERM", "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        // A group of its own: Ctrl-C reaches this program only, which ends the servers in their order.
        // The folder is one that every user may enter.
        command.process_group(0).stdin(Stdio::null()).current_dir("/");
        Self { command, name }
    }

    /// Adds arguments.
    pub(super) fn args<S: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    pub(super) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it as that user, if one is given.
    pub(super) fn user(mut self, user: Option<User>) -> Self {
        if let Some(User { uid, gid }) = user {
            self.command.uid(uid).gid(gid);
        }
        self
    }

    /// Starts it. `signal` is what ends it.
    pub(super) fn start(mut self, log: PathBuf, signal: Signal) -> anyhow::Result<Process> {
        let (out, errors) = output(&log)?;
        let child = self.command.stdout(out).stderr(errors).spawn();
        let child = child.with_context(|| format!("start {}", self.name))?;
        Ok(Process { child, name: self.name, log, signal })
    }

    /// Runs it to its end.
    pub(super) async fn finish(self, log: &Path) -> anyhow::Result<()> {
        let (out, errors) = output(log)?;
        let mut command = tokio::process::Command::from(self.command);
        let status = command.stdout(out).stderr(errors).kill_on_drop(true).status().await;
        let status = status.with_context(|| format!("run {}", self.name))?;
        if !status.success() {
            bail!("{} failed ({status}): {}", self.name, tail(log));
        }
        Ok(())
    }
}

/// A process that runs until this is dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
    signal: Signal,
}

impl Process {
    /// Its id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks again and again whether it is ready, until it is, it ended, or a minute has passed.
    pub(super) async fn ready(&mut self, mut is_ready: impl AsyncFnMut() -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_mins(1) {
            if let Some(status) = self.child.try_wait().context("look after a server")? {
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
        // An error here means that it has ended already, which is what is wanted.
        kill_process(Pid::from_child(&self.child), self.signal).ok();
        while asked.elapsed() < PATIENCE {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        eprintln!("note: {} did not end in {} s and is killed", self.name, PATIENCE.as_secs());
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An address on the loopback interface that was free a moment ago.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    listener.local_addr().context("find a free port")
}

/// The two ends of a log file: standard output and standard error.
fn output(log: &Path) -> anyhow::Result<(File, File)> {
    let file = File::options().create(true).append(true).open(log);
    let file = file.with_context(|| format!("open {}", log.display()))?;
    let again = file.try_clone().context("open the log twice")?;
    Ok((file, again))
}

/// The last lines of a log, for a message.
fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
