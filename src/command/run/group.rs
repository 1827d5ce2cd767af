//! The command as a process group of its own.

use std::{ffi::OsString, io, os::unix::process::CommandExt};

use db_locks::LockHandle;
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait},
};

use super::{super::exit::SIGNALLED, gate::Gate};

/// A process group whose leader is the command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    leader: Pid,
}

/// A change of the command's state.
pub(super) enum Change {
    /// The command ended with this exit code.
    Exited(u8),
    /// The command was stopped by this signal.
    Stopped(Option<Signal>),
}

impl Group {
    /// Starts the process that becomes the command when the gate is opened.
    pub(super) fn start(command: &[OsString], lock: &LockHandle) -> io::Result<(Self, Gate)> {
        let (mut process, gate) = Gate::before(command)?;
        let child = process
            .env("DB_LOCKS_KEY", lock.key())
            .env("DB_LOCKS_VERSION", lock.version())
            .env("DB_LOCKS_FENCING_TOKEN", lock.fencing_token().to_string())
            .env("DB_LOCKS_OWNER", lock.owner())
            .process_group(0)
            .spawn()?;
        // `reap` waits for the end of the child, so the handle is not needed.
        let leader = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        leader.map(|leader| (Self { leader }, gate)).ok_or_else(|| io::Error::other("no process id"))
    }

    /// The id of the group.
    pub(super) fn id(self) -> Pid {
        self.leader
    }

    /// Sends a signal to all processes of the group.
    pub(super) fn signal(self, signal: Signal) {
        // The group may have ended by itself.
        let _ = kill_process_group(self.leader, signal);
    }

    /// Asks all processes of the group to end, by this signal. A process that is stopped is continued: it could not answer.
    pub(super) fn ask_to_end(self, signal: Signal) {
        self.signal(signal);
        self.signal(Signal::CONT);
    }

    /// Reads the changes of all children, and returns the change of the command, if there is one. As process 1 of a container
    /// this process inherits orphans, and has to reap them too.
    pub(super) fn reap(self) -> Option<Change> {
        loop {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if pid == self.leader => return change(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

fn change(status: WaitStatus) -> Option<Change> {
    let code = |number: i32| u8::try_from(number & 0xff).unwrap_or(u8::MAX);
    if status.stopped() {
        return Some(Change::Stopped(status.stopping_signal().and_then(Signal::from_named_raw)));
    }
    let exited = status.exit_status().map(code);
    let signalled = status.terminating_signal().map(|signal| SIGNALLED.saturating_add(code(signal)));
    exited.or(signalled).map(Change::Exited)
}
