//! Patience: nobody is kept without an answer for much longer than [`ANSWER_WITHIN`], whatever stands in the way.
//!
//! Commands stand in many places of a shard: in line, behind a busy key, in works that wait for a load, for membership or
//! for another try, and in works that the database has at this moment. Nobody takes a work out of the shard, so one look
//! finds them all. It comes by a timer, a few times a second while there is anything to look at.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::{
        key_task::KeyTask,
        pending_request::{EngineError, PendingRequest},
    },
    Shard, TimerEvent,
    blocked::Blocked,
};
use crate::domain::{KeyId, RequestId};

/// How long a command is tried before its caller is answered 503.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// One look.
struct Look<'s> {
    now: Instant,
    /// What those are told whose command was never written.
    unreachable: EngineError,
    blocked: &'s Blocked,
    /// Waiters that have wanted to leave for too long.
    leavers: Vec<(RequestId, EngineError)>,
    /// Keys of works of which nothing is left.
    emptied: Vec<KeyId>,
}

impl Look<'_> {
    fn is_over(&self, request: &PendingRequest) -> bool {
        self.now.duration_since(request.arrived) >= ANSWER_WITHIN
    }

    /// A command that no write on its way decides about. Returns whether it stays.
    fn undecided(&mut self, request: &mut PendingRequest) -> bool {
        if !self.is_over(request) {
            return true;
        }
        let (error, stays) = if request.may_be_written() {
            (EngineError::UnknownFate, true)
        } else {
            (self.blocked.unreached(&request.id, self.unreachable), request.reply.is_none())
        };
        self.leavers.extend(request.give_up(error));
        stays
    }

    /// A work that may have been written, or is going to be: all of its commands stay.
    fn decided(&mut self, key_task: &mut KeyTask) {
        for request in &mut key_task.requests {
            if self.is_over(request) {
                self.leavers.extend(request.give_up(EngineError::UnknownFate));
            }
        }
    }

    /// A work that has to be decided, be it again. Returns whether anything of it is left.
    fn key_task(&mut self, key_task: &mut KeyTask) -> bool {
        if !key_task.attempts.is_empty() {
            self.decided(key_task);
            return true;
        }
        key_task.requests.retain_mut(|request| self.undecided(request));
        !key_task.requests.is_empty()
    }

    /// The same, noting the key of a work of which nothing is left.
    fn idle_task(&mut self, key_task: &mut KeyTask) -> bool {
        let stays = self.key_task(key_task);
        if !stays {
            self.emptied.push(key_task.id.clone());
        }
        stays
    }
}

impl Shard {
    /// Sees to it that there is a look while there is anything to look at.
    pub(super) fn watch_deadlines(&mut self) {
        if !self.is_watched && !self.has_no_commands() {
            self.is_watched = true;
            self.timers.set(Instant::now() + LOOK, TimerEvent::Overdue);
        }
    }

    /// Answers all whose patience has come to an end. What is done for them is undone by what takes their place.
    pub(super) fn answer_overdue(&mut self) {
        self.is_watched = false;
        let unreachable = self.shared.outage.reason();
        // Taken out, to be asked while everything else is looked at.
        let mut blocked = std::mem::take(&mut self.blocked);
        let mut look = Look {
            now: Instant::now(),
            unreachable,
            blocked: &blocked,
            leavers: Vec::new(),
            emptied: Vec::new(),
        };
        for line in [&mut self.urgent, &mut self.acquires, &mut self.deferred_acquires] {
            line.retain_mut(|request| look.undecided(request));
        }
        self.leaves.retain(|request| look.undecided(request));
        for parked in self.parked.values_mut() {
            parked.retain_mut(|request| look.undecided(request));
        }
        self.to_load.retain(|key_task| look.idle_task(key_task));
        self.to_join.retain_mut(|key_task| look.idle_task(key_task));
        self.timers.retain(|event| match event {
            TimerEvent::Retry(key_task) => look.idle_task(key_task),
            _ => true,
        });
        for key_task in self.loading.iter_mut().flatten() {
            // What is left of it is seen when it comes back.
            look.key_task(key_task);
        }
        let sides =
            self.halves.iter_mut().map(|half| &mut half.sides).chain(self.commits.values_mut()).flatten();
        let key_tasks = sides.map(|side| &mut side.key_task);
        let key_tasks = key_tasks.chain(self.decided.iter_mut().map(|decided| &mut decided.key_task));
        for key_task in key_tasks.chain(self.locked.values_mut()) {
            look.decided(key_task);
        }
        let Look { now, leavers, emptied, .. } = look;
        let nothing = Blocked::default();
        let mut look = Look { now, unreachable, blocked: &nothing, leavers, emptied };
        for key_task in blocked.key_tasks() {
            look.decided(key_task);
        }
        let Look { leavers, emptied, .. } = look;
        self.blocked = blocked;
        for (request_id, error) in leavers {
            self.tell_waiter(request_id, error);
        }
        for id in emptied {
            self.unpark(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::{super::super::pending_request::tests::acquire, *};
    use crate::domain::Command;

    /// Guards invariant 7: what may have been written for a command in line is given back when its caller is told 503.
    #[tokio::test(start_paused = true)]
    async fn an_acquire_in_line_that_may_have_been_written_is_given_back() {
        let (reply, mut answer) = oneshot::channel();
        let mut request = acquire(true, Some(reply));
        let now = request.arrived + ANSWER_WITHIN;
        let (unreachable, blocked) = (EngineError::Unreachable, Blocked::default());
        let mut look = Look { now, unreachable, blocked: &blocked, leavers: Vec::new(), emptied: Vec::new() };
        assert!(look.undecided(&mut request), "its give-back stays");
        assert!(matches!(request.command, Command::GiveBack { .. }));
        assert!(matches!(answer.try_recv(), Ok(Err(EngineError::UnknownFate))));
        assert!(look.undecided(&mut request), "until it is done");
    }
}
