//! Deciding under the database's own lock: for keys that lose race after race.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::{
        ids,
        key_task::{Attempt, KeyTask, Outcome},
        pending_request::Message,
        tasks::spawn_critical,
    },
    Shard, TimerEvent,
    batch::{Basis, Batch, Side},
    offers::CLAIM_MS,
};
use crate::{
    domain::{KeyId, KeyState, Verdict},
    store::{Committed, StoreError, Write},
};

/// The pause before a decision under the database's lock is tried again.
const RETRY_LOCKED: Duration = Duration::from_millis(20);

/// A decision under the lock that came back.
#[derive(Debug)]
pub(in super::super) struct LockedDone {
    id: KeyId,
    /// The work as it was decided: without those who are answered, who stay in the shard.
    copy: KeyTask,
    /// What was to be written, and the verdicts.
    decided: Option<(Write, Vec<Verdict>)>,
    result: Result<Committed, StoreError>,
    sent: Instant,
    received: Instant,
}

impl Shard {
    /// Decides a work that lost too many races under the database's own lock.
    pub(super) fn commit_locked(&mut self, key_task: KeyTask) {
        let (shared, outbox) = (self.shared.clone(), self.outbox.clone());
        let surroundings = self.shared.surroundings();
        let mut offers = self.offers.clone();
        let mut copy = key_task.without_callers();
        let id = key_task.id.clone();
        let tenant = id.tenant.clone();
        self.locked.insert(id.clone(), key_task);
        spawn_critical(async move {
            let sent = Instant::now();
            let mut decided = None;
            let load_requests = [copy.load_request()];
            let mut decide = |states: Vec<KeyState>, db_time| {
                let now = shared.clock.reckon(db_time, sent, Instant::now());
                // Where an attempt was applied there is nothing to decide: the next load finds it.
                let state = states.into_iter().next().filter(|state| copy.applied(state).is_none());
                let outcome = state.map(|mut state| {
                    offers.keep(&mut state.queue, now, CLAIM_MS, Instant::now());
                    copy.decide(state, true, &surroundings.context(now, &tenant))
                });
                let Some(Outcome::Write { prev, change, verdicts }) = outcome else { return Vec::new() };
                let write = Write { prev, row_version: ids::row_version(), change };
                decided = Some((write.clone(), verdicts));
                vec![write]
            };
            let result = shared.store.commit_locked(&load_requests, &mut decide).await;
            let result = result.map(|(_, committed)| committed);
            let done = LockedDone { id, copy, decided, result, sent, received: Instant::now() };
            let _ = outbox.send(Message::Locked(Box::new(done)));
        });
    }

    pub(super) fn on_locked(&mut self, done: LockedDone) {
        let LockedDone { id, copy, decided, result, sent, received } = done;
        let Some(mut key_task) = self.locked.remove(&id) else { return };
        self.outcome_sent = sent;
        key_task.learn_from(copy);
        match (result, decided) {
            (Ok(committed), Some((write, verdicts))) => {
                self.shared.clock.observe(committed.db_time, sent, received);
                let sides = vec![Side { key_task, verdicts, basis: Basis::Loaded }];
                self.on_written(Batch { writes: vec![write], sides }, &committed);
            }
            (Err(StoreError::Unknown(_)), Some((write, verdicts))) => {
                key_task.mark_retried();
                key_task.attempts.push(Attempt::of(write, verdicts));
                self.to_load.push(key_task);
            }
            (Err(StoreError::Blocked(_)), _) => self.postpone_blocked(key_task),
            (Ok(_) | Err(_), _) => {
                self.timers.set(Instant::now() + RETRY_LOCKED, TimerEvent::Retry(Box::new(key_task)));
            }
        }
    }
}
