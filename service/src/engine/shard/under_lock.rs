//! Decisions under the database's own lock, for keys that lose several races in a row.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Shard,
    batch::{Batch, DecidedTask},
    offers::CLAIM_MS,
};
use crate::{
    domain::{GuardBusy, KeyState},
    engine::{
        cache::Basis,
        key_task::{KeyTask, TaskOutcome},
        message::{DecidedUnderLock, Message},
        tasks::spawn_critical,
    },
    store::{LoadKind, LoadRequest, StoreError},
};

/// The pause before a decision under the database's lock is tried again.
const RETRY_LOCKED: Duration = Duration::from_millis(20);

impl Shard {
    /// Decides a copy of a task under the database's lock. The task itself, with its callers, stays in the shard.
    pub(super) fn commit_locked(&mut self, mut key_task: KeyTask) {
        let (shared, outbox) = (self.shared.clone(), self.outbox.clone());
        let mut offers = self.offers.clone();
        let mut copy = key_task.without_callers();
        let id = key_task.id.clone();
        self.in_flight.locked.insert(id.clone(), key_task);
        spawn_critical(async move {
            let sent = Instant::now();
            let (mut decided, mut overwritten) = (None, None);
            // Nobody else waits for this load.
            let load_requests = [LoadRequest { kind: LoadKind::VeryLong, ..copy.load_request() }];
            let mut decide = |states: Vec<KeyState>, db_time| {
                // If the store decides again, the room for the waiters of the first decision is free.
                decided = None;
                let now = shared.clock.extrapolate(db_time, sent, Instant::now());
                // If an attempt was applied there is nothing to decide: the next load finds that attempt.
                let state = states.into_iter().next().filter(|state| copy.applied(state).is_none());
                let outcome = state.map(|mut state| {
                    if copy.was_attempted() && shared.audit.is_on() {
                        let found = copy.take_overwritten(&state);
                        if !found.is_empty() {
                            overwritten = Some((found, Box::new(state.clone()), db_time));
                        }
                    }
                    offers.keep(&mut state.queue, now, CLAIM_MS, Instant::now());
                    copy.decide(state.into(), true, &shared.context(now), &shared.waiting)
                });
                let Some(TaskOutcome::Write { write, verdicts, reserved }) = outcome else {
                    return Vec::new();
                };
                decided = Some((write.clone(), verdicts, reserved));
                vec![write]
            };
            let result = shared.store.commit_locked(&load_requests, &mut decide).await;
            let result = result.map(|(_, committed)| committed);
            let received = Instant::now();
            let done = DecidedUnderLock { id, copy, overwritten, decided, result, sent, received };
            // The shard is gone only when the process ends.
            let _ = outbox.send(Message::DecidedUnderLock(Box::new(done)));
        });
    }

    /// Handles the result of a decision under the database's lock.
    pub(super) fn on_decided_under_lock(&mut self, done: DecidedUnderLock) {
        let DecidedUnderLock { id, copy, overwritten, decided, result, sent, received } = done;
        let Some(mut key_task) = self.in_flight.locked.remove(&id) else { return };
        key_task.take_back(copy);
        if let Some((overwritten, state, at)) = overwritten {
            self.record_overwritten(&key_task, &overwritten, &state, at);
        }
        match (result, decided) {
            (Ok(committed), Some((write, verdicts, reserved))) => {
                self.shared.clock.observe(committed.db_time, sent, received);
                let tasks = vec![DecidedTask { key_task, verdicts, basis: Basis::Loaded, reserved }];
                self.on_written(Batch { writes: vec![write], tasks }, &committed, sent);
            }
            (Err(StoreError::Unknown(_)), Some((write, verdicts, reserved))) => {
                key_task.note_attempt(write, verdicts, reserved);
                self.in_flight.loads.push(key_task);
            }
            (Err(StoreError::Blocked(_)), _) => self.postpone_blocked(key_task),
            (Err(StoreError::GuardOpen(slots)), _) => {
                let busy = GuardBusy { slots: slots.into_iter().collect(), ..GuardBusy::default() };
                self.on_guard_open(key_task, busy);
            }
            (Ok(_) | Err(_), _) => {
                self.in_flight.retries.set(Instant::now() + RETRY_LOCKED, key_task);
            }
        }
    }
}
