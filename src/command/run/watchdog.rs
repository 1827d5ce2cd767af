//! The watchdog: a second process that ends the command in time if `run` itself is paused or killed.
//!
//! `run` sends it the id of the group, and each new end of the lease, through a pipe. The watchdog sends the same signals as
//! `run`, each a little later, so that no command gets SIGTERM twice. It ends when `run` orders that, or when the group is
//! gone.

use std::{
    io::{self, BufRead, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, ExitCode, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::Duration,
};

use clap::Parser;
use db_locks::LeaseInstant;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use super::{
    super::{
        args::WatchdogArgs,
        exit::{USAGE, say},
    },
    deadline::{Deadline, Notice, Step},
    group::Group,
    part::part,
};

/// The first argument of the watchdog's process.
pub(super) const NAME: &str = "run-watchdog";
/// How much later than `run` the watchdog sends SIGTERM.
const DELAY: Duration = Duration::from_millis(50);
/// How often the watchdog checks the group, and the clock: timers stop while the machine is suspended.
const PERIOD: Duration = Duration::from_millis(50);

/// The watchdog, as `run` uses it.
pub(super) struct Watchdog {
    orders: Option<ChildStdin>,
}

impl Watchdog {
    /// Starts the watchdog, before the command. If that fails, the command runs without it.
    pub(super) fn start(notice: Notice) -> Self {
        match Self::spawn(notice) {
            Ok(mut child) => Self { orders: child.stdin.take() },
            Err(error) => {
                say(format_args!(
                    "no watchdog, so nothing ends the command if this process is paused: {error}"
                ));
                Self { orders: None }
            }
        }
    }

    fn spawn(notice: Notice) -> io::Result<Child> {
        let millis = |time: Duration| time.as_millis().to_string();
        part(NAME)?
            .args(["--terminate-ms", &millis(notice.terminate), "--kill-ms", &millis(notice.kill)])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
    }

    /// Sends the group to watch.
    pub(super) fn watch(&mut self, group: Group) {
        self.send(format_args!("group {}", group.id().as_raw_nonzero()));
    }

    /// Sends the instant until which the lease can be relied on.
    pub(super) fn relied_until(&mut self, instant: LeaseInstant) {
        self.send(format_args!("until {}", instant.to_millis()));
    }

    /// Reports that the command got SIGTERM.
    pub(super) fn terminated(&mut self) {
        self.send(format_args!("terminated"));
    }

    /// Reports that the command has ended.
    pub(super) fn end(mut self) {
        self.send(format_args!("end"));
    }

    fn send(&mut self, order: std::fmt::Arguments<'_>) {
        // An order has a few bytes, and there are few of them per lease. A pipe takes thousands before it blocks.
        let sent = self.orders.as_mut().map(|orders| writeln!(orders, "{order}"));
        if matches!(sent, Some(Err(_))) {
            say("the watchdog has ended, so nothing ends the command if this process is paused");
            self.orders = None;
        }
    }
}

/// An order of `run`.
enum Order {
    Group(Pid),
    Until(LeaseInstant),
    Terminated,
    End,
}

impl Order {
    fn read(line: &str) -> Option<Self> {
        let (order, value) = line.split_once(' ').unwrap_or((line, ""));
        match order {
            "group" => Some(Self::Group(Pid::from_raw(value.parse().ok()?)?)),
            "until" => Some(Self::Until(LeaseInstant::from_millis(value.parse().ok()?))),
            "terminated" => Some(Self::Terminated),
            "end" => Some(Self::End),
            _ => None,
        }
    }
}

/// Runs the watchdog with the arguments of this process.
pub(super) fn watch_as_asked() -> ExitCode {
    match WatchdogArgs::try_parse_from(std::env::args_os().skip(1)) {
        Ok(args) => watch(&args),
        Err(error) => {
            say(error);
            ExitCode::from(USAGE)
        }
    }
}

/// Watches the group until it is gone.
fn watch(args: &WatchdogArgs) -> ExitCode {
    let terminate = Duration::from_millis(args.terminate_ms);
    let kill = Duration::from_millis(args.kill_ms);
    let later = DELAY.min((terminate.saturating_sub(kill)) / 2);
    let notice = Notice { terminate: terminate.saturating_sub(later), kill };
    let orders = read_orders();
    let mut group = None;
    let mut deadline = None::<Deadline>;
    let mut run_is_alive = true;
    loop {
        let step = group.and(deadline.as_ref()).and_then(Deadline::next);
        let pause = step.map_or(PERIOD, |(_, at)| at.remaining().min(PERIOD));
        match next_order(&orders, run_is_alive, pause) {
            Ok(Order::Group(pid)) => group = Some(pid),
            Ok(Order::Until(instant)) => match &mut deadline {
                Some(deadline) => deadline.extend(instant),
                None => deadline = Some(Deadline::new(notice, instant)),
            },
            Ok(Order::Terminated) => {
                if let Some(deadline) = &mut deadline {
                    deadline.done(Step::Terminate);
                }
            }
            Ok(Order::End) => return ExitCode::SUCCESS,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => run_is_alive = false,
        }
        let (Some(group), Some(deadline)) = (group, &mut deadline) else {
            if run_is_alive {
                continue;
            }
            return ExitCode::SUCCESS;
        };
        enforce(deadline, group);
        if !run_is_alive && test_kill_process_group(group).is_err() {
            return ExitCode::SUCCESS;
        }
    }
}

/// Waits for the next order of `run`, for at most this time.
fn next_order(
    orders: &Receiver<Order>,
    run_is_alive: bool,
    pause: Duration,
) -> Result<Order, RecvTimeoutError> {
    if run_is_alive {
        return orders.recv_timeout(pause);
    }
    // A closed channel would return at once.
    std::thread::sleep(pause);
    Err(RecvTimeoutError::Timeout)
}

/// Sends the signals that are due.
fn enforce(deadline: &mut Deadline, group: Pid) {
    while let Some((step, at)) = deadline.next()
        && at.remaining().is_zero()
    {
        let signal = match step {
            Step::Terminate => Signal::TERM,
            Step::Kill => Signal::KILL,
        };
        // The group may have ended by itself.
        let _ = kill_process_group(group, signal);
        deadline.done(step);
    }
}

/// Reads orders in a thread of its own, until `run` closes the pipe or ends.
fn read_orders() -> Receiver<Order> {
    let (sender, orders) = mpsc::channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Some(order) = line.ok().as_deref().and_then(Order::read) else { return };
            if sender.send(order).is_err() {
                return;
            }
        }
    });
    orders
}
