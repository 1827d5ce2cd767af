//! Runs the command, and ends it before its lease does.

use std::ffi::OsString;

use db_locks::{LeaseInstant, LockGuard};
use rustix::process::Signal;

use super::{
    super::exit::{Failure, NOT_EXECUTABLE, say},
    deadline::{Deadline, Notice, Step, due},
    group::{Change, Group},
    signals::{Event, Signals},
    terminal::Terminal,
    watchdog::Watchdog,
};

/// How the command ended.
pub(super) enum End {
    /// By itself, with this exit code.
    Exited(u8),
    /// Because the lock was lost.
    LockLost,
}

/// Runs the command to its end.
pub(super) async fn supervise(
    guard: &LockGuard,
    command: &[OsString],
    signals: &mut Signals,
) -> Result<End, Failure> {
    let notice = Notice::of(guard.lease());
    let mut relied_until = guard.relied_until();
    let first = *relied_until.borrow_and_update();
    let mut watchdog = Watchdog::start(notice);
    watchdog.relied_until(first);
    let (group, gate) = match Group::start(command, guard) {
        Ok(started) => started,
        Err(error) => {
            watchdog.end();
            say(format_args!("the command cannot be started: {error}"));
            return Ok(End::Exited(NOT_EXECUTABLE));
        }
    };
    watchdog.watch(group);
    let terminal = Terminal::of_foreground();
    if let Some(terminal) = &terminal {
        terminal.give_to(group);
    }
    let mut running = Running { group, deadline: Deadline::new(notice, first), watchdog, terminal };
    // This process may have been paused until now. Then the command does not begin at all.
    if !running.deadline.is_over() {
        gate.open();
    }
    let mut is_lost = false;
    let code = loop {
        tokio::select! {
            biased;
            step = due(&running.deadline) => running.take(step),
            () = guard.lost(), if !is_lost => {
                is_lost = true;
                running.deadline.lose(LeaseInstant::now());
            }
            Ok(()) = relied_until.changed() => running.extend(*relied_until.borrow_and_update()),
            event = signals.event() => match event {
                Event::Forward(signal) => running.group.ask_to_end(signal),
                Event::Child => match running.group.reap() {
                    Some(Change::Exited(code)) => break code,
                    Some(Change::Stopped(signal)) => running.stopped(signal),
                    None => {}
                },
            },
        }
    };
    Ok(running.ended(code, guard.is_lost()))
}

/// A command that runs.
struct Running {
    group: Group,
    deadline: Deadline,
    watchdog: Watchdog,
    terminal: Option<Terminal>,
}

impl Running {
    fn extend(&mut self, relied_until: LeaseInstant) {
        self.deadline.extend(relied_until);
        self.watchdog.relied_until(relied_until);
    }

    fn take(&mut self, step: Step) {
        self.deadline.done(step);
        match step {
            Step::Terminate => {
                say("the lock is lost, or its lease cannot be renewed in time: the command is asked to end");
                self.watchdog.terminated();
                self.group.ask_to_end(Signal::TERM);
            }
            Step::Kill => self.group.signal(Signal::KILL),
        }
    }

    fn stopped(&self, signal: Option<Signal>) {
        let Some(terminal) = &self.terminal else { return };
        match signal {
            // It asked for the terminal before it had it.
            Some(Signal::TTIN | Signal::TTOU) => terminal.give_to(self.group),
            _ => terminal.stop_with(self.group),
        }
    }

    fn ended(self, code: u8, is_lost: bool) -> End {
        if let Some(terminal) = &self.terminal {
            terminal.take_back();
        }
        self.watchdog.end();
        if is_lost || self.deadline.is_over() { End::LockLost } else { End::Exited(code) }
    }
}
