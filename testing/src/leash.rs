//! Child processes that end when the process that started them ends, however it ends.
//!
//! Each is started by a shell that first leaves a watcher behind and then becomes the program itself. The watcher reads
//! from a pipe that only the parent holds. When the pipe closes without a word, the watcher kills the program by its
//! process id, and removes its folder. A parent that ends the program itself says so through the pipe first.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
};

const SCRIPT: &str = r#"
signal=$1; folder=$2; shift 2
exec 3<&0
(
    if ! read -r _ <&3; then
        kill -s "$signal" $$ 2>/dev/null
        tries=0
        while kill -0 $$ 2>/dev/null && [ "$tries" -lt 100 ]; do tries=$((tries + 1)); sleep 0.1; done
    fi
    [ -z "$folder" ] || rm -rf "$folder"
) </dev/null >/dev/null 2>&1 &
exec 3<&-
exec "$@" </dev/null
"#;

/// A program that ends with this process.
#[derive(Debug)]
pub struct Leashed {
    child: Child,
    leash: Option<ChildStdin>,
    end: Option<ExitStatus>,
}

/// How a program is started.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The environment of the program, in addition to PATH.
    pub env: Vec<(String, String)>,
    /// The signal that ends the program when its parent is gone.
    pub signal: &'a str,
    /// The folder to remove when the program has ended.
    pub folder: Option<&'a Path>,
    /// The file for the program's output.
    pub log: &'a Path,
}

impl Leashed {
    /// Starts a program.
    pub fn start(launch: &Launch<'_>) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(launch.log).unwrap();
        let mut child = Command::new("sh")
            // A process group of its own: Ctrl-C is the parent's affair.
            .process_group(0)
            .args(["-c", SCRIPT, "sh", launch.signal])
            .arg(launch.folder.unwrap_or(Path::new("")))
            .args(&launch.command)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(launch.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let leash = child.stdin.take();
        Self { child, leash, end: None }
    }

    /// Sends a signal, unless the program has ended.
    pub fn signal(&mut self, signal: &str) {
        if self.ended().is_none() {
            let pid = self.child.id().to_string();
            let sent =
                Command::new("sh").args(["-c", r#"kill -s "$0" "$1""#, signal, &pid]).status().unwrap();
            assert!(sent.success(), "kill -s {signal} {pid}");
        }
    }

    /// The process id of the program.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How the program ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.end.is_none() {
            self.end = self.child.try_wait().unwrap();
        }
        self.end
    }
}

impl Drop for Leashed {
    fn drop(&mut self) {
        if self.ended().is_none() {
            // The program may end by itself in between; then there is nothing to do.
            drop(self.child.kill());
            drop(self.child.wait());
        }
        if let Some(mut leash) = self.leash.take() {
            drop(leash.write_all(b"ended\n"));
        }
    }
}
