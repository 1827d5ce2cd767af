//! Loads the states of keys, and decides on them.

use tokio::time::Instant;

use super::{Shard, answer::FinishedTask, offers::CLAIM_MS, trail};
use crate::{
    domain::{KeyState, Timestamp},
    engine::{
        cache::Basis,
        key_task::{KeyTask, Overwritten},
        message::{LoadDone, Message},
        tasks::spawn_critical,
    },
    store::{LoadKind, LoadRequest, NotLoaded, StoreError, Unreadable},
    unavailable::Unavailable,
};

impl Shard {
    /// Starts the next loads, if there are any. Their key tasks stay here, so that overdue callers can be answered
    /// meanwhile.
    pub(super) fn send_next_loads(&mut self) {
        for kind in LoadKind::ALL {
            if let Some(load_requests) = self.in_flight.loads.begin(kind) {
                self.send_load(kind, load_requests);
            }
        }
    }

    fn send_load(&self, kind: LoadKind, load_requests: Vec<LoadRequest>) {
        let (shared, outbox) = (self.shared.clone(), self.outbox.clone());
        spawn_critical(async move {
            let (epoch, sent) = (shared.store.epoch(), Instant::now());
            let result = shared.store.load(&load_requests).await;
            let done = LoadDone { kind, result, epoch, sent, received: Instant::now() };
            // The shard is gone only when the process ends.
            let _ = outbox.send(Message::Loaded(Box::new(done)));
        });
    }

    /// Decides the tasks of a load that came back.
    pub(super) fn on_loaded(&mut self, done: LoadDone) {
        let LoadDone { kind, result, epoch, sent, received } = done;
        let key_tasks = self.in_flight.loads.end(kind);
        let loaded = match result {
            Ok(loaded) => loaded,
            Err(error) => return self.postpone_all(key_tasks, &error),
        };
        self.shared.clock.observe(loaded.db_time, sent, received);
        let now = self.shared.clock.extrapolate(loaded.db_time, sent, Instant::now());
        let ctx = self.shared.context(now);
        if epoch != ctx.epoch {
            // The states may be those of a server that was replaced meanwhile.
            return self
                .postpone_all(key_tasks, &StoreError::Transient("loaded under an earlier epoch".into()));
        }
        let mut left = Vec::new();
        for (mut key_task, state) in key_tasks.into_iter().zip(loaded.states) {
            let mut state = match state {
                Ok(state) => Box::new(state),
                Err(NotLoaded::Unreadable(unreadable)) => {
                    self.fail_unreadable(key_task, &unreadable);
                    continue;
                }
                Err(NotLoaded::IsLong) => {
                    key_task.load_kind = key_task.load_kind.longer();
                    self.in_flight.loads.push(key_task);
                    continue;
                }
                Err(NotLoaded::WasFull) => {
                    left.push(key_task);
                    continue;
                }
            };
            self.offers.keep(&mut state.queue, now, CLAIM_MS, received);
            if key_task.requests.is_empty() && !key_task.was_attempted() {
                self.free(&key_task.id);
            } else if let Some(index) = key_task.applied(&state) {
                let attempt = key_task.attempts.swap_remove(index);
                let raised = state.token.0 - attempt.token.0;
                let (verdicts, effects) = (attempt.verdicts, attempt.effects);
                let db_time = loaded.db_time;
                self.finish(FinishedTask { key_task, verdicts, effects, state, raised, db_time, sent });
            } else {
                if self.shared.audit.is_on() {
                    let overwritten = key_task.take_overwritten(&state);
                    self.record_overwritten(&key_task, &overwritten, &state, loaded.db_time);
                }
                self.decide(key_task, state, Basis::Loaded, &ctx, sent);
            }
        }
        self.in_flight.loads.push_first(left);
    }

    /// Adds what earlier writes of a task did to the audit log. Their commands are decided again, and find that done.
    pub(super) fn record_overwritten(
        &self,
        key_task: &KeyTask,
        overwritten: &[Overwritten],
        state: &KeyState,
        at: Timestamp,
    ) {
        for Overwritten { verdicts, effects, raised } in overwritten {
            let (id, requests, raised, is_answered) = (&key_task.id, &key_task.requests, *raised, false);
            let change = trail::Change { id, state, requests, verdicts, effects, raised, at, is_answered };
            trail::record(&self.shared.audit, &change, &self.waiters);
        }
    }

    /// Refuses all commands for a key whose rows are inconsistent. Nothing is written to it.
    fn fail_unreadable(&mut self, key_task: KeyTask, unreadable: &Unreadable) {
        self.in_flight.loads.log_unreadable(&key_task.id, unreadable);
        let was_attempted = key_task.was_attempted();
        for mut request in key_task.requests {
            let may_be_written = was_attempted || request.may_be_written();
            let error = if may_be_written { Unavailable::UnknownOutcome } else { Unavailable::UnreadableKey };
            if let Some((request_id, error)) = request.fail(error) {
                self.waiters.fail(request_id, error);
            }
        }
        self.free(&key_task.id);
    }
}
