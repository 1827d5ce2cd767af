//! Loading: what is asked of the database before a decision.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::{
    super::{
        key_task::KeyTask,
        pending_request::{EngineError, Message},
        tasks::spawn_critical,
    },
    Shard,
    batch::Basis,
    offers::CLAIM_MS,
};
use crate::store::{LoadRequest, Loaded, StoreError, Unreadable};

/// The most works of a load.
const MOST_LOADED: usize = 256;

/// Works that wait for a load.
#[derive(Debug, Default)]
pub(super) struct ToLoad {
    /// Those that give something back or keep something alive: a lease must not end behind thousands who want one.
    urgent: VecDeque<KeyTask>,
    /// The others.
    others: VecDeque<KeyTask>,
}

impl ToLoad {
    /// Puts a work in line.
    pub(super) fn push(&mut self, key_task: KeyTask) {
        let line = if key_task.is_urgent() { &mut self.urgent } else { &mut self.others };
        line.push_back(key_task);
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.others.is_empty()
    }

    /// Keeps those that `keep` wants kept.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut KeyTask) -> bool) {
        self.urgent.retain_mut(&mut keep);
        self.others.retain_mut(keep);
    }

    /// The works of the next load.
    fn take(&mut self) -> Vec<KeyTask> {
        let urgent = self.urgent.len().min(MOST_LOADED);
        let others = self.others.len().min(MOST_LOADED - urgent);
        self.urgent.drain(..urgent).chain(self.others.drain(..others)).collect()
    }
}

/// A load that came back.
#[derive(Debug)]
pub(in super::super) struct LoadDone {
    result: Result<Loaded, StoreError>,
    sent: Instant,
    received: Instant,
}

impl Shard {
    /// Starts the load of what waits for one. The works stay here, where patience can end.
    pub(super) fn next_load(&mut self) {
        let key_tasks = self.to_load.take();
        let load_requests: Vec<LoadRequest> = key_tasks.iter().map(KeyTask::load_request).collect();
        self.loading = Some(key_tasks);
        let (shared, outbox) = (self.shared.clone(), self.outbox.clone());
        spawn_critical(async move {
            let sent = Instant::now();
            let result = shared.store.load(&load_requests).await;
            let done = LoadDone { result, sent, received: Instant::now() };
            let _ = outbox.send(Message::Loaded(Box::new(done)));
        });
    }

    pub(super) fn on_loaded(&mut self, done: LoadDone) {
        let LoadDone { result, sent, received } = done;
        let key_tasks = self.loading.take().unwrap_or_default();
        self.outcome_sent = sent;
        let loaded = match result {
            Ok(loaded) => loaded,
            Err(error) => return self.postpone_all(key_tasks, &error),
        };
        self.shared.clock.observe(loaded.db_time, sent, received);
        let now = self.shared.clock.reckon(loaded.db_time, sent, Instant::now());
        let surroundings = self.shared.surroundings();
        for (mut key_task, state) in key_tasks.into_iter().zip(loaded.states) {
            let mut state = match state {
                Ok(state) => state,
                Err(unreadable) => {
                    self.give_up_unreadable(key_task, &unreadable);
                    continue;
                }
            };
            self.offers.keep(&mut state.queue, now, CLAIM_MS, received);
            if key_task.requests.is_empty() && key_task.attempts.is_empty() {
                self.unpark(&key_task.id);
            } else if let Some(index) = key_task.applied(&state) {
                let attempt = key_task.attempts.swap_remove(index);
                let raised = state.token.0 - attempt.token.0;
                self.finish(key_task, attempt.verdicts, attempt.effects, state, raised);
            } else {
                let tenant = key_task.id.tenant.clone();
                self.decide(key_task, state, Basis::Loaded, &surroundings.context(now, &tenant));
            }
        }
    }

    /// A key whose rows make no sense: whatever is asked of it is refused, and nothing is written. The cause is logged once.
    fn give_up_unreadable(&mut self, key_task: KeyTask, unreadable: &Unreadable) {
        const MOST_LOGGED: usize = 1_000;
        if self.unreadable.len() >= MOST_LOGGED {
            self.unreadable.clear();
        }
        if self.unreadable.insert(key_task.id.clone()) {
            let (tenant, key) = (key_task.id.tenant.as_str(), key_task.id.key.as_str());
            tracing::error!(
                tenant,
                key,
                error = unreadable as &dyn std::error::Error,
                "a key cannot be read"
            );
        }
        let was_tried = !key_task.attempts.is_empty();
        for mut request in key_task.requests {
            let may_be_written = was_tried || request.may_be_written();
            let error = if may_be_written { EngineError::UnknownFate } else { EngineError::Unreadable };
            if let Some((request_id, error)) = request.give_up(error) {
                self.tell_waiter(request_id, error);
            }
        }
        self.unpark(&key_task.id);
    }
}
