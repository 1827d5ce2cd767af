//! Handling of a commit's result: written, lost a race, or failed.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Shard,
    answer::FinishedTask,
    batch::{Batch, DecidedTask},
};
use crate::{
    domain::{Body, GuardBusy},
    engine::{key_task::KeyTask, message::CommitDone},
    store::{Committed, StoreError, Write},
    unavailable::Unavailable,
};

/// The number of races that a key may lose in a row before it is decided under the database's lock.
const MOST_RACES: u8 = 3;

/// The pause before a task is tried again after the database failed.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The pause before a command of the engine's own that the database refused is tried again.
const RETRY_REFUSED: Duration = Duration::from_secs(1);

/// The pause before a task is tried again where the database asks for another try.
const RETRY_SOON: Duration = Duration::from_millis(5);

impl Shard {
    /// Handles a commit that came back.
    pub(super) fn on_committed(&mut self, done: CommitDone) {
        let CommitDone { number, writes, result, blocked, sent, received } = done;
        let Some(tasks) = self.in_flight.take_commit(number) else { return };
        let batch = Batch { writes, tasks };
        match result {
            Ok(committed) => {
                self.shared.outage.end_if_any();
                self.in_flight.commits.note_success(received);
                self.shared.clock.observe(committed.db_time, sent, received);
                self.on_written(batch, &committed, sent);
            }
            Err(StoreError::Rejected(_)) if batch.writes.len() > 1 => {
                self.in_flight.commits.send_halves(batch);
            }
            Err(error @ StoreError::Rejected(_)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the database refuses a write");
                self.fail_all(batch, Unavailable::DatabaseRefused);
            }
            Err(StoreError::Blocked(_)) => self.on_blocked(batch, &blocked),
            Err(StoreError::GuardOpen(slots)) => {
                let busy = GuardBusy { slots: slots.into_iter().collect(), ..blocked.guard };
                for task in batch.tasks {
                    self.on_guard_open(task.key_task, busy.clone());
                }
            }
            Err(error @ StoreError::Unknown(_)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the outcome of a commit is unknown; its keys are loaded"
                );
                self.on_unknown(batch);
            }
            // Another try would only keep the callers waiting.
            Err(error @ StoreError::DiskFull(_)) => {
                self.shared.report_outage(&error);
                self.fail_all(batch, Unavailable::DiskFull);
            }
            // These conditions last until an operator acts.
            Err(error @ (StoreError::Schema(_) | StoreError::FileReplaced(_))) => {
                self.fail_all(batch, Unavailable::from(&error));
            }
            Err(
                error @ (StoreError::Unreachable(_)
                | StoreError::Transient(_)
                | StoreError::ReadOnly(_)
                | StoreError::SeveralWritable(_)
                | StoreError::Overloaded(_)),
            ) => {
                let key_tasks = batch.tasks.into_iter().map(|task| task.key_task).collect();
                self.postpone_all(key_tasks, &error);
            }
        }
    }

    /// Answers the tasks that were written. Tasks that lost their race are loaded again.
    pub(super) fn on_written(&mut self, batch: Batch, committed: &Committed, sent: Instant) {
        for ((write, task), token) in batch.into_decided().zip(&committed.tokens) {
            self.cache.note(task.basis, token.is_some());
            let mut key_task = task.key_task;
            self.in_flight.blocked.note_free(&key_task.id);
            let Some(token) = *token else {
                self.on_lost_race(key_task);
                continue;
            };
            let Write { row_version, change, .. } = write;
            self.shared.storage.add(&change.id.tenant, change.growth());
            let (mut state, effects) = (change.state, change.effects);
            let raised = token.0 - state.token.0;
            state.row_version = Some(row_version);
            if raised != 0 {
                state.token = token;
                if let Body::Mutex(mutex) = &mut state.body
                    && let Some(grant) = &mut mutex.grant
                {
                    grant.token = token;
                }
            }
            key_task.reserved.join(task.reserved);
            let (verdicts, db_time) = (task.verdicts, committed.db_time);
            self.finish(FinishedTask { key_task, verdicts, effects, state, raised, db_time, sent });
        }
    }

    fn on_lost_race(&mut self, mut key_task: KeyTask) {
        key_task.races_lost = key_task.races_lost.saturating_add(1);
        self.shared.metrics.lost_race();
        self.in_flight.commits.note_lost_race(&key_task.id, Instant::now());
        if key_task.races_lost >= MOST_RACES {
            self.commit_locked(key_task);
        } else {
            self.in_flight.loads.push(key_task);
        }
    }

    /// Queues the keys of a commit that may have been applied for a load.
    fn on_unknown(&mut self, batch: Batch) {
        for (write, task) in batch.into_decided() {
            let mut key_task = task.key_task;
            if !planted!(UnknownOutcomeAppliedTwice) {
                key_task.note_attempt(write, task.verdicts, task.reserved);
            }
            self.in_flight.loads.push(key_task);
        }
    }

    /// Schedules tasks to be tried again after a pause.
    pub(super) fn postpone_all(&mut self, key_tasks: Vec<KeyTask>, error: &StoreError) {
        let pause = match error {
            StoreError::Transient(_) | StoreError::Blocked(_) | StoreError::GuardOpen(_) => RETRY_SOON,
            StoreError::Unreachable(_)
            | StoreError::Unknown(_)
            | StoreError::Rejected(_)
            | StoreError::ReadOnly(_)
            | StoreError::SeveralWritable(_)
            | StoreError::DiskFull(_)
            | StoreError::Overloaded(_)
            | StoreError::Schema(_)
            | StoreError::FileReplaced(_) => {
                self.shared.report_outage(error);
                RETRY_AFTER
            }
        };
        let at = Instant::now() + pause;
        for key_task in key_tasks {
            self.in_flight.retries.set(at, key_task);
        }
    }

    fn fail_all(&mut self, batch: Batch, error: Unavailable) {
        for task in batch.tasks {
            self.fail(task, error);
        }
    }

    /// Answers the callers of a write that the database refuses. A task with an earlier attempt is kept until the
    /// outcome of that attempt is known. The engine's own commands are kept, because nobody else would repeat them.
    fn fail(&mut self, task: DecidedTask, error: Unavailable) {
        let DecidedTask { mut key_task, verdicts, .. } = task;
        let was_attempted = key_task.was_attempted();
        if !was_attempted {
            // Commands without a verdict were not part of the refused write, except the first one: it has a write even if
            // its verdict takes several.
            self.intake.park_first(key_task.requests.split_off(verdicts.len().max(1)));
        }
        let mut kept = Vec::new();
        for mut request in key_task.requests {
            let may_be_written = was_attempted || request.may_be_written();
            let is_kept = may_be_written || request.reply.is_none();
            let error = if may_be_written { Unavailable::UnknownOutcome } else { error };
            if let Some((request_id, error)) = request.fail(error) {
                self.waiters.fail(request_id, error);
            }
            if is_kept {
                kept.push(request);
            }
        }
        let at = Instant::now() + RETRY_REFUSED;
        if was_attempted {
            key_task.requests = kept;
            self.in_flight.retries.set(at, key_task);
        } else {
            for request in kept {
                self.intake.push_refused(at, request);
            }
            self.free(&key_task.id);
        }
    }
}
