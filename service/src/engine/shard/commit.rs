//! Forms a batch: gathers commands, decides them, and sends the writes to the database.

use tokio::time::Instant;

use super::{
    Shard,
    answer::FinishedTask,
    backpressure::{Backpressure, BatchRoom},
    batch::{Batch, DecidedTask},
};
use crate::{
    domain::{Context, KeyState},
    engine::{
        cache::Basis,
        commit_task::{self, CommitMode},
        key_task::{KeyTask, TaskOutcome},
        tasks::spawn_critical,
    },
    store::Write,
};

impl Shard {
    /// Sends the next batch. Returns whether there was one.
    pub(super) fn send_next_batch(&mut self) -> bool {
        let batch = self.in_flight.commits.next_half().or_else(|| self.form_batch());
        let Some(batch) = batch else { return false };
        self.start_commit(batch);
        true
    }

    /// Gathers and decides commands, and makes a batch of the resulting writes.
    fn form_batch(&mut self) -> Option<Batch> {
        let key_tasks = self.intake.gather(BatchRoom {
            limits: self.in_flight.commits.limits(),
            backpressure: Backpressure::of(&self.in_flight),
            cache: &self.cache,
        });
        if !key_tasks.is_empty() {
            let at = Instant::now();
            let ctx = self.shared.clock.now(at).map(|now| self.shared.context(now));
            if let Some(ctx) = &ctx {
                self.cache.follow(ctx.epoch);
            }
            for mut key_task in key_tasks {
                self.note_answered(&mut key_task);
                self.speculate(key_task, ctx.as_ref(), at);
            }
        }
        self.in_flight.commits.next_batch()
    }

    /// Decides a task without a load if that probably saves time, and queues it for a load otherwise.
    fn speculate(&mut self, key_task: KeyTask, ctx: Option<&Context>, at: Instant) {
        let Some(ctx) = ctx.filter(|_| !key_task.is_read_only()) else {
            self.cache.forget(&key_task.id);
            self.in_flight.loads.push(key_task);
            return;
        };
        match self.cache.speculate(&key_task.id) {
            Some((state, basis)) => self.decide(key_task, state, basis, ctx, at),
            None => self.in_flight.loads.push(key_task),
        }
    }

    /// Decides a task and passes it on. `sent` is when the statement that loaded the state was sent.
    pub(super) fn decide(
        &mut self,
        mut key_task: KeyTask,
        state: Box<KeyState>,
        basis: Basis,
        ctx: &Context,
        sent: Instant,
    ) {
        if key_task.guard_busy.is_none() {
            key_task.guard_busy = self.in_flight.guarded.busy.get(&key_task.id).cloned();
        }
        match key_task.decide(state, basis == Basis::Loaded, ctx, &self.shared.waiting) {
            TaskOutcome::Write { write, verdicts, reserved } => {
                self.in_flight.write(write, DecidedTask { key_task, verdicts, basis, reserved });
            }
            TaskOutcome::Answered { state, verdicts, effects } => {
                let db_time = ctx.now.at_most;
                self.finish(FinishedTask { key_task, verdicts, effects, state, raised: 0, db_time, sent });
            }
            TaskOutcome::NeedsLoad => self.in_flight.loads.push(key_task),
            TaskOutcome::NeedsMembership => {
                self.in_flight.loads.push_without_membership(key_task);
                self.shared.membership.want();
            }
        }
    }

    /// Sends a batch. Its key tasks stay here, so that overdue callers can be answered meanwhile.
    fn start_commit(&mut self, batch: Batch) {
        #[cfg(test)]
        let batch = batch.answered_if_planted();
        let Batch { writes, tasks } = batch;
        let now = Instant::now();
        let mode =
            if self.in_flight.blocked.is_careful(now) { CommitMode::Checked } else { CommitMode::Plain };
        let number = self.send_commit(writes, mode);
        self.in_flight.commits.note_sent(number, tasks, now);
    }

    /// Sends writes. Returns the number of their commit.
    pub(super) fn send_commit(&mut self, writes: Vec<Write>, mode: CommitMode) -> u64 {
        self.shared.metrics.batch(writes.len());
        let number = self.in_flight.commits.take_number();
        let (shared, outbox) = (self.shared.clone(), self.outbox.clone());
        spawn_critical(async move {
            let message = commit_task::run(shared, number, writes, mode).await;
            // The shard is gone only when the process ends.
            let _ = outbox.send(message);
        });
        number
    }
}
