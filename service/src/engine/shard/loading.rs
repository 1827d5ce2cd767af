//! Loading: what is asked of the database before a decision.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::{
    super::{
        envelope::{EngineError, Message},
        vital::spawn_vital,
        work::Work,
    },
    Shard,
    batch::Basis,
    offers::CLAIM_MS,
};
use crate::store::{Loaded, StoreError, Unreadable, Want};

/// The most works of a load.
const MOST_LOADED: usize = 256;

/// Works that wait for a load.
#[derive(Debug, Default)]
pub(super) struct ToLoad {
    /// Those that give something back or keep something alive: a lease must not end behind thousands who want one.
    urgent: VecDeque<Work>,
    /// The others.
    others: VecDeque<Work>,
}

impl ToLoad {
    /// Puts a work in line.
    pub(super) fn push(&mut self, work: Work) {
        let line = if work.is_urgent() { &mut self.urgent } else { &mut self.others };
        line.push_back(work);
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.others.is_empty()
    }

    /// Keeps those that `keep` wants kept.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut Work) -> bool) {
        self.urgent.retain_mut(&mut keep);
        self.others.retain_mut(keep);
    }

    /// The works of the next load.
    fn take(&mut self) -> Vec<Work> {
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
        let works = self.to_load.take();
        let wants: Vec<Want> = works.iter().map(Work::want).collect();
        self.loading = Some(works);
        let (shared, outbox) = (self.shared.clone(), self.outbox.clone());
        spawn_vital(async move {
            let sent = Instant::now();
            let result = shared.store.load(&wants).await;
            let done = LoadDone { result, sent, received: Instant::now() };
            let _ = outbox.send(Message::Loaded(Box::new(done)));
        });
    }

    pub(super) fn on_loaded(&mut self, done: LoadDone) {
        let LoadDone { result, sent, received } = done;
        let works = self.loading.take().unwrap_or_default();
        self.outcome_sent = sent;
        let loaded = match result {
            Ok(loaded) => loaded,
            Err(error) => return self.postpone_all(works, &error),
        };
        self.shared.clock.observe(loaded.told, sent, received);
        let now = self.shared.clock.reckon(loaded.told, sent, Instant::now());
        let surroundings = self.shared.surroundings();
        for (mut work, state) in works.into_iter().zip(loaded.states) {
            let mut state = match state {
                Ok(state) => state,
                Err(unreadable) => {
                    self.give_up_unreadable(work, &unreadable);
                    continue;
                }
            };
            self.offers.keep(&mut state.queue, now, CLAIM_MS, received);
            if work.envelopes.is_empty() && work.attempts.is_empty() {
                self.unpark(&work.id);
            } else if let Some(index) = work.applied(&state) {
                let attempt = work.attempts.swap_remove(index);
                let raised = state.token.0 - attempt.token.0;
                self.finish(work, attempt.verdicts, attempt.effects, state, raised);
            } else {
                let tenant = work.id.tenant.clone();
                self.decide(work, state, Basis::Loaded, &surroundings.context(now, &tenant));
            }
        }
    }

    /// A key whose rows make no sense: whatever is asked of it is refused, and nothing is written. The cause is logged once.
    fn give_up_unreadable(&mut self, work: Work, unreadable: &Unreadable) {
        const MOST_LOGGED: usize = 1_000;
        if self.unreadable.len() >= MOST_LOGGED {
            self.unreadable.clear();
        }
        if self.unreadable.insert(work.id.clone()) {
            let (tenant, key) = (work.id.tenant.as_str(), work.id.key.as_str());
            tracing::error!(
                tenant,
                key,
                error = unreadable as &dyn std::error::Error,
                "a key cannot be read"
            );
        }
        let was_tried = !work.attempts.is_empty();
        for mut envelope in work.envelopes {
            let may_be_written = was_tried || envelope.may_be_written();
            let error = if may_be_written { EngineError::UnknownFate } else { EngineError::Unreadable };
            if let Some((nonce, error)) = envelope.give_up(error) {
                self.tell_waiter(nonce, error);
            }
        }
        self.unpark(&work.id);
    }
}
