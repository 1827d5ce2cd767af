//! The terminal: the command has the foreground while it runs.

use std::fs::File;

use nix::sys::signal::{SigSet, Signal as TerminalSignal};
use rustix::{
    process::{Pid, Signal, getpgrp, getpid, kill_process},
    termios::{tcgetpgrp, tcsetpgrp},
};

use super::group::Group;

/// The terminal of this process.
pub(super) struct Terminal {
    file: File,
}

impl Terminal {
    /// Opens the terminal, if there is one and this process is in its foreground.
    pub(super) fn of_foreground() -> Option<Self> {
        let file = File::options().read(true).write(true).open("/dev/tty").ok()?;
        let is_foreground = tcgetpgrp(&file).is_ok_and(|group| group == getpgrp());
        is_foreground.then_some(Self { file })
    }

    /// Puts the command into the foreground, and continues it: it may have been stopped because it read from the terminal.
    pub(super) fn give_to(&self, group: Group) {
        self.set_foreground(group.id());
        group.signal(Signal::CONT);
    }

    /// Puts this process into the foreground again.
    pub(super) fn take_back(&self) {
        self.set_foreground(getpgrp());
    }

    /// Stops this process too after the command was stopped from the keyboard, so that the shell notices that and gets the
    /// terminal. When the shell continues this process, the command is continued, unless its lease has ended meanwhile.
    pub(super) fn stop_with(&self, group: Group) {
        self.take_back();
        // Returns after SIGCONT.
        let _ = kill_process(getpid(), Signal::STOP);
        if tcgetpgrp(&self.file).is_ok_and(|foreground| foreground == getpgrp()) {
            self.give_to(group);
        } else {
            group.signal(Signal::CONT);
        }
    }

    /// Sets the foreground group. From the background only a thread that blocks SIGTTOU may do this, so a thread of its own
    /// does it.
    fn set_foreground(&self, group: Pid) {
        std::thread::scope(|scope| {
            let set = || {
                let mut stop = SigSet::empty();
                stop.add(TerminalSignal::SIGTTOU);
                // If the terminal is gone, there is nothing to set.
                if stop.thread_block().is_ok() {
                    let _ = tcsetpgrp(&self.file, group);
                }
            };
            // If the thread cannot be started, the terminal stays as it is.
            let _ = std::thread::Builder::new().spawn_scoped(scope, set);
        });
    }
}
