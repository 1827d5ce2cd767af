//! When a command has to end because its lease ends.

use std::time::Duration;

use db_locks::LeaseInstant;

/// How long before the end of the lease SIGKILL is sent, if the lease is long enough. So much later the processes of a busy
/// machine may be scheduled.
const KILL_BEFORE: Duration = Duration::from_secs(1);
/// How long a command may take to end after SIGTERM if the service answered that the lock is lost: another caller may hold it.
const GRACE_WHEN_LOST: Duration = Duration::from_secs(1);

/// How long before the end of a lease its command gets SIGTERM and SIGKILL.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notice {
    pub(super) terminate: Duration,
    pub(super) kill: Duration,
}

impl Notice {
    pub(super) fn of(lease: Duration) -> Self {
        Self { terminate: lease / 4, kill: KILL_BEFORE.min(lease / 8) }
    }
}

/// When to send which signal to the command's process group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    notice: Notice,
    terminate_at: LeaseInstant,
    kill_at: LeaseInstant,
    /// SIGTERM was sent.
    terminated: bool,
    /// SIGKILL was sent.
    killed: bool,
}

/// The next signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Terminate,
    Kill,
}

impl Deadline {
    /// The deadline of a lease that can be relied on until `relied_until`.
    pub(super) fn new(notice: Notice, relied_until: LeaseInstant) -> Self {
        let terminate_at = relied_until.minus(notice.terminate);
        let kill_at = relied_until.minus(notice.kill);
        Self { notice, terminate_at, kill_at, terminated: false, killed: false }
    }

    /// Moves the deadline after a heartbeat. A command that already got SIGTERM is not kept from ending.
    pub(super) fn extend(&mut self, relied_until: LeaseInstant) {
        self.terminate_at = relied_until.minus(self.notice.terminate);
        self.kill_at = relied_until.minus(self.notice.kill);
    }

    /// Moves the deadline to now, because the service answered that the lock is lost.
    pub(super) fn lose(&mut self, now: LeaseInstant) {
        self.terminate_at = now;
        self.kill_at = self.kill_at.min(now.plus(GRACE_WHEN_LOST));
    }

    /// The next step and its time; `None` after the last step.
    pub(super) fn next(&self) -> Option<(Step, LeaseInstant)> {
        match (self.terminated, self.killed) {
            (false, _) => Some((Step::Terminate, self.terminate_at)),
            (true, false) => Some((Step::Kill, self.kill_at)),
            (true, true) => None,
        }
    }

    /// Records that the step was taken.
    pub(super) fn done(&mut self, step: Step) {
        self.terminated = true;
        self.killed |= step == Step::Kill;
    }

    /// Whether the command got SIGTERM, or should have got it by now.
    pub(super) fn is_over(&self) -> bool {
        self.terminated || self.terminate_at.remaining().is_zero()
    }
}

/// Completes when the next step is due.
pub(super) async fn due(deadline: &Deadline) -> Step {
    match deadline.next() {
        Some((step, at)) => {
            at.passed().await;
            step
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kill may not come after the end, nor before the command was asked.
    #[test]
    fn a_command_is_asked_before_it_is_killed_and_killed_before_the_end() {
        for lease_ms in [1, 50, 300, 1_000, 30_000, 86_400_000] {
            let notice = Notice::of(Duration::from_millis(lease_ms));
            assert!(notice.terminate > notice.kill, "{lease_ms}");
            assert!(notice.kill > Duration::ZERO, "{lease_ms}");
        }
        assert_eq!(Notice::of(Duration::from_secs(15)).kill, Duration::from_secs(1));
    }

    #[test]
    fn a_lost_lock_leaves_no_more_time_than_the_lease_did() {
        let now = LeaseInstant::now();
        let mut deadline =
            Deadline::new(Notice::of(Duration::from_secs(30)), now.plus(Duration::from_secs(20)));
        deadline.lose(now);
        assert_eq!(deadline.next(), Some((Step::Terminate, now)));
        deadline.done(Step::Terminate);
        assert_eq!(deadline.next(), Some((Step::Kill, now.plus(GRACE_WHEN_LOST))));
        deadline.done(Step::Kill);
        assert_eq!(deadline.next(), None);
    }
}
