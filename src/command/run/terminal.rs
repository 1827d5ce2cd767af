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
    /// The terminal, if there is one and this process is in its foreground.
    pub(super) fn of_foreground() -> Option<Self> {
        let file = File::options().read(true).write(true).open("/dev/tty").ok()?;
        let is_foreground = tcgetpgrp(&file).is_ok_and(|group| group == getpgrp());
        is_foreground.then_some(Self { file })
    }

    /// Puts the command into the foreground. Before that it may have been stopped for reading from the terminal.
    pub(super) fn give_to(&self, group: Group) {
        self.set_foreground(group.id());
        group.signal(Signal::CONT);
    }

    /// Puts this process into the foreground again.
    pub(super) fn take_back(&self) {
        self.set_foreground(getpgrp());
    }

    /// The command was stopped from the keyboard: stops this process too, so that the shell sees it and has the terminal.
    /// When the shell continues this process the command goes on, unless its lease has ended meanwhile.
    pub(super) fn stop_with(&self, group: Group) {
        self.take_back();
        // Comes back after SIGCONT.
        let _ = kill_process(getpid(), Signal::STOP);
        if tcgetpgrp(&self.file).is_ok_and(|foreground| foreground == getpgrp()) {
            self.give_to(group);
        } else {
            group.signal(Signal::CONT);
        }
    }

    /// From the background this is allowed only to a thread that blocks SIGTTOU; the others need not know.
    fn set_foreground(&self, group: Pid) {
        std::thread::scope(|scope| {
            let set = || {
                let mut stop = SigSet::empty();
                stop.add(TerminalSignal::SIGTTOU);
                // A terminal that is gone needs no foreground.
                if stop.thread_block().is_ok() {
                    let _ = tcsetpgrp(&self.file, group);
                }
            };
            // A thread that cannot be started leaves the terminal as it is.
            let _ = std::thread::Builder::new().spawn_scoped(scope, set);
        });
    }
}
