//! A batch: the writes of one commit and their key tasks.

use crate::{
    domain::Verdict,
    engine::{cache::Basis, key_task::KeyTask, waiter_count::Reservation},
    store::Write,
};

/// A decided key task whose write is not durable yet. Its verdicts hold once it is.
#[derive(Debug)]
pub(super) struct DecidedTask {
    pub(super) key_task: KeyTask,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) basis: Basis,
    /// The room for the waiters of the write, beyond what earlier writes of the task have reserved.
    pub(super) reserved: Reservation,
}

#[cfg(test)]
impl DecidedTask {
    /// Answers the callers before the write is durable: a bug that tests plant.
    fn answer_at_once(&mut self) {
        for (request, verdict) in self.key_task.requests.iter_mut().zip(&self.verdicts) {
            if let Verdict::Reply(reply) = verdict
                && let Some(sender) = request.reply.take()
            {
                sender.send(Ok(reply.clone().into()));
            }
        }
    }
}

/// The writes of one commit and their key tasks, in the same order.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) writes: Vec<Write>,
    pub(super) tasks: Vec<DecidedTask>,
}

impl Batch {
    /// Makes a batch of decided tasks; `None` if there are none. The batch is sorted by key: writers that lock rows in the
    /// same order do not deadlock.
    pub(super) fn new(mut decided: Vec<(Write, DecidedTask)>) -> Option<Self> {
        decided.sort_unstable_by(|(a, _), (b, _)| a.change.id.cmp(&b.change.id));
        let (writes, tasks): (Vec<_>, _) = decided.into_iter().unzip();
        (!writes.is_empty()).then_some(Self { writes, tasks })
    }

    /// Removes and returns the second half.
    pub(super) fn split(&mut self) -> Self {
        let middle = self.writes.len() / 2;
        Self { writes: self.writes.split_off(middle), tasks: self.tasks.split_off(middle) }
    }

    /// The writes with their tasks.
    pub(super) fn into_decided(self) -> impl Iterator<Item = (Write, DecidedTask)> {
        self.writes.into_iter().zip(self.tasks)
    }

    /// The batch, answered before it is durable if a test has planted that bug.
    #[cfg(test)]
    pub(super) fn answered_if_planted(mut self) -> Self {
        if planted!(AnsweredBeforeDurable) {
            self.tasks.iter_mut().for_each(DecidedTask::answer_at_once);
        }
        self
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{
        domain::{Command, Key, KeyChange, KeyId, KeyState, Tenant},
        engine::{ids, pending_request::PendingRequest},
    };

    /// A decided task with one command of the engine's own.
    pub(in super::super) fn decided(key: &str) -> (Write, DecidedTask) {
        decided_command(key, Command::ServeQueue)
    }

    /// A decided task with this command.
    pub(in super::super) fn decided_command(key: &str, command: Command) -> (Write, DecidedTask) {
        decided_of("t", key, command)
    }

    /// A decided task of this tenant with this command.
    pub(in super::super) fn decided_of(tenant: &str, key: &str, command: Command) -> (Write, DecidedTask) {
        let id = KeyId { tenant: Tenant::trusted(tenant), key: Key::trusted(key) };
        let change = Box::new(KeyChange::new(id.clone(), KeyState::absent()));
        let key_task = KeyTask::new(PendingRequest::internal(id, command, Instant::now()));
        let write = Write { prev: None, row_version: ids::row_version(), change };
        let (verdicts, reserved) = (Vec::new(), Reservation::default());
        (write, DecidedTask { key_task, verdicts, basis: Basis::Loaded, reserved })
    }
}
