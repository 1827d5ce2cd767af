//! Answers for callers that have waited too long: each command is answered within about [`ANSWER_WITHIN`].
//!
//! Commands are in many places of a shard: in the intake, in key tasks that wait, and in key tasks that the database is
//! working on. No key task leaves the shard, so one check finds all commands. The check runs a few times a second while
//! there are commands.

use std::time::Duration;

use tokio::time::Instant;

use super::{Shard, blocked_keys::BlockedKeys, in_flight::InFlight};
use crate::{
    domain::{KeyId, RequestId},
    engine::{key_task::KeyTask, pending_request::PendingRequest},
    unavailable::Unavailable,
};

/// How long a command is tried before its caller is answered 503.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The pause between two checks.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// Waiters whose leave was not written in time, each with the error to answer.
type OverdueLeaves = Vec<(RequestId, Unavailable)>;

/// One check.
struct DeadlineCheck<'s> {
    now: Instant,
    /// The error for commands that were never written.
    not_written: Unavailable,
    blocked: &'s BlockedKeys,
    leavers: OverdueLeaves,
    /// Keys of tasks that have no commands left.
    emptied: Vec<KeyId>,
}

impl DeadlineCheck<'_> {
    /// Checks a command that is not part of a write under way. Returns whether the command is kept.
    fn keeps_request(&mut self, request: &mut PendingRequest) -> bool {
        if !is_overdue(request, self.now) {
            return true;
        }
        let (error, is_kept) = if request.may_be_written() {
            (Unavailable::UnknownOutcome, true)
        } else {
            (self.blocked.error_for(&request.id, self.not_written), request.reply.is_none())
        };
        self.leavers.extend(request.fail(error));
        is_kept
    }

    /// Checks a task that has to be decided, or decided again. Returns whether commands are left.
    fn keeps_task(&mut self, key_task: &mut KeyTask) -> bool {
        if key_task.was_attempted() {
            fail_overdue(key_task, self.now, &mut self.leavers);
            return true;
        }
        key_task.requests.retain_mut(|request| self.keeps_request(request));
        !key_task.requests.is_empty()
    }

    /// Checks a waiting task like `keeps_task`, and notes its key if no commands are left.
    fn keeps_waiting_task(&mut self, key_task: &mut KeyTask) -> bool {
        let is_kept = self.keeps_task(key_task);
        if !is_kept {
            self.emptied.push(key_task.id.clone());
        }
        is_kept
    }
}

fn is_overdue(request: &PendingRequest, now: Instant) -> bool {
    now.duration_since(request.arrived) >= ANSWER_WITHIN
}

/// Checks a task that may have been written or is about to be. Keeps all of its commands.
fn fail_overdue(key_task: &mut KeyTask, now: Instant, leavers: &mut OverdueLeaves) {
    for request in &mut key_task.requests {
        if is_overdue(request, now) {
            leavers.extend(request.fail(Unavailable::UnknownOutcome));
        }
    }
}

impl Shard {
    /// Schedules the next check, while there are commands.
    pub(super) fn schedule_deadline_check(&mut self) {
        if self.next_deadline_check.is_none() && !self.intake.is_empty() {
            self.next_deadline_check = Some(Instant::now() + CHECK_EVERY);
        }
    }

    /// Answers all callers that have waited too long. Their commands are replaced by ones that undo what may have been
    /// written.
    pub(super) fn answer_overdue(&mut self, now: Instant) {
        self.next_deadline_check = None;
        self.shed_late(now);
        let InFlight { loads, commits, blocked, guarded, locked, retries } = &mut self.in_flight;
        let is_overload = commits.succeed(now) && !self.shared.outage.is_ongoing();
        let not_written = if is_overload { Unavailable::Overloaded } else { self.shared.outage.reason() };
        let mut check = DeadlineCheck { now, not_written, blocked, leavers: Vec::new(), emptied: Vec::new() };
        self.intake.retain(|request| check.keeps_request(request));
        loads.retain_waiting(|key_task| check.keeps_waiting_task(key_task));
        retries.retain(|key_task| check.keeps_waiting_task(key_task));
        for key_task in loads.under_way() {
            // If no commands are left, the task is dropped when the load comes back.
            check.keeps_task(key_task);
        }
        let DeadlineCheck { mut leavers, emptied, .. } = check;
        for key_task in commits
            .key_tasks()
            .chain(locked.values_mut())
            .chain(blocked.key_tasks())
            .chain(guarded.key_tasks())
        {
            fail_overdue(key_task, now, &mut leavers);
        }
        for (request_id, error) in leavers {
            self.waiters.fail(request_id, error);
        }
        for id in emptied {
            self.free(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Command,
        engine::pending_request::{ReplySender, tests::acquire},
    };

    /// Guards invariant 7: an acquire that may have been written is given back when its caller is answered 503.
    #[tokio::test(start_paused = true)]
    async fn an_overdue_acquire_that_may_have_been_written_is_given_back() {
        let (reply, mut answer) = ReplySender::new(None);
        let mut request = acquire(true, Some(reply));
        let now = request.arrived + ANSWER_WITHIN;
        let (not_written, blocked) = (Unavailable::DatabaseOutOfReach, BlockedKeys::default());
        let mut check =
            DeadlineCheck { now, not_written, blocked: &blocked, leavers: Vec::new(), emptied: Vec::new() };
        assert!(check.keeps_request(&mut request), "its give-back is kept");
        assert!(matches!(request.command, Command::GiveBack { .. }));
        assert!(matches!(answer.try_recv(), Ok(Err(Unavailable::UnknownOutcome))));
        assert!(check.keeps_request(&mut request), "until it is done");
    }
}
