//! What came back from the database: answers, lost races, and failures.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::{
        key_task::{Attempt, KeyTask},
        pending_request::{Answered, EngineError, PendingRequest},
    },
    Shard, TimerEvent,
    batch::{Basis, Batch, Side},
    blocked::FoundBlocked,
};
use crate::{
    domain::{Body, Command, Effects, KeyState, OFFER_MS, Reply, Timestamp, Verdict},
    store::{Committed, StoreError, Write},
};

/// Races that a key may lose in a row before it is decided under the database's lock.
const MOST_RACES: u8 = 3;

/// The pause before a work is tried again that the database could not take.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The pause before what the database refused, and nobody waits for, is tried again.
const RETRY_REFUSED: Duration = Duration::from_secs(1);

/// The pause where the database itself asks to try again.
const RETRY_SOON: Duration = Duration::from_millis(5);

/// A commit that came back.
#[derive(Debug)]
pub(in super::super) struct CommitDone {
    /// Which of those under way.
    pub(super) number: u64,
    pub(super) writes: Vec<Write>,
    pub(super) result: Result<Committed, StoreError>,
    /// What is known where it could not have a row.
    pub(super) blocked: FoundBlocked,
    pub(super) sent: Instant,
    pub(super) received: Instant,
}

impl Shard {
    pub(super) fn on_committed(&mut self, done: CommitDone) {
        let CommitDone { number, writes, result, blocked, sent, received } = done;
        let sides = self.commits.remove(&number).or_else(|| self.blocked.take_commit(number));
        let Some(sides) = sides else { return };
        self.outcome_sent = sent;
        let mut batch = Batch { writes, sides };
        match result {
            Ok(committed) => {
                self.shared.outage.end_if_any();
                self.shared.clock.observe(committed.db_time, sent, received);
                self.on_written(batch, &committed);
            }
            Err(StoreError::Rejected(_)) if batch.writes.len() > 1 => {
                let second = batch.split();
                self.halves.push_back(batch);
                self.halves.push_back(second);
            }
            Err(error @ StoreError::Rejected(_)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the database refuses a write");
                for side in batch.sides {
                    self.fail(side, EngineError::Rejected);
                }
            }
            Err(StoreError::Blocked(_)) => self.on_blocked(batch, &blocked),
            Err(error @ StoreError::Unknown(_)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a commit's fate is unknown; asking for it"
                );
                self.on_unknown(batch);
            }
            // Trying on would only keep the callers waiting.
            Err(error @ StoreError::DiskFull(_)) => {
                self.shared.report_outage(&error);
                for side in batch.sides {
                    self.fail(side, EngineError::DiskFull);
                }
            }
            Err(error @ (StoreError::Schema(_) | StoreError::FileReplaced(_))) => {
                // Nobody knows for how long: whoever asked is told at once.
                let db_time = EngineError::of_lasting(&error).unwrap_or(EngineError::Unreachable);
                for side in batch.sides {
                    self.fail(side, db_time);
                }
            }
            Err(
                error @ (StoreError::Unreachable(_)
                | StoreError::Transient(_)
                | StoreError::ReadOnly(_)
                | StoreError::Overloaded(_)),
            ) => {
                let key_tasks = batch.sides.into_iter().map(|side| side.key_task).collect();
                self.postpone_all(key_tasks, &error);
            }
        }
    }

    pub(super) fn on_written(&mut self, batch: Batch, committed: &Committed) {
        for ((write, side), token) in batch.writes.into_iter().zip(batch.sides).zip(&committed.tokens) {
            match side.basis {
                Basis::Loaded => {}
                Basis::Remembered => self.speculation.note(false, token.is_some()),
                Basis::AssumedAbsent => self.speculation.note(true, token.is_some()),
            }
            let mut key_task = side.key_task;
            self.blocked.note_free(&key_task.id);
            let Some(token) = *token else {
                key_task.races_lost = key_task.races_lost.saturating_add(1);
                self.shared.metrics.lost_race();
                if key_task.races_lost >= MOST_RACES {
                    self.commit_locked(key_task);
                } else {
                    self.to_load.push(key_task);
                }
                continue;
            };
            let Write { row_version, change, .. } = write;
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
            self.finish(key_task, side.verdicts, effects, state, raised);
        }
    }

    /// The statement was sent and no answer came: ask what stands, and decide again where it was not applied.
    fn on_unknown(&mut self, batch: Batch) {
        for (write, side) in batch.writes.into_iter().zip(batch.sides) {
            let mut key_task = side.key_task;
            if !planted!(UnknownOutcomeAppliedTwice) {
                key_task.mark_retried();
                key_task.attempts.push(Attempt::of(write, side.verdicts));
            }
            self.to_load.push(key_task);
        }
    }

    /// The verdicts hold: everybody is answered, and the state is remembered. Commands behind those that have one are
    /// decided next.
    pub(super) fn finish(
        &mut self,
        mut key_task: KeyTask,
        verdicts: Vec<Verdict>,
        effects: Effects,
        mut state: KeyState,
        raised: i64,
    ) {
        self.park_first(key_task.requests.split_off(verdicts.len()));
        let id = key_task.id;
        Self::narrate(&id, &key_task.requests, &verdicts, &effects);
        self.shared.metrics.expired(effects.expired);
        let mut freed = self.freed_instants(&key_task.requests, &effects);
        for (request, verdict) in key_task.requests.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Reply(mut reply) => {
                    reply.raise_token(raised);
                    self.answer(request, reply);
                }
                Verdict::Waiting { wait_ms } => self.register(request, wait_ms),
                Verdict::Unknown => {
                    if let Some(sender) = request.reply {
                        // If the caller has gone, it has not waited for this.
                        let _ = sender.send(Err(EngineError::UnknownFate));
                    }
                }
            }
        }
        for (request_id, mut reply) in effects.answered {
            reply.raise_token(raised);
            let freed_at = freed.iter().position(|(served, _)| *served == request_id);
            let freed_at = freed_at.map(|index| freed.swap_remove(index).1);
            self.answer_waiter(request_id, Answered { reply, freed_at });
        }
        self.shared.metrics.notified(effects.notified.len(), effects.skipped);
        for replica in effects.suspects {
            self.shared.membership.suspect(replica);
        }
        let now = Instant::now();
        if let Some(time) = self.shared.clock.now(now) {
            self.offers.keep(&mut state.queue, time, OFFER_MS, now);
        }
        self.set_key_timer(&id, &state);
        self.find_missing(&id, &state.queue);
        self.unpark(&id);
        if effects.unfinished {
            self.enqueue_internal(id.clone(), Command::ServeQueue);
        }
        self.memory.put(id, state, Instant::now());
    }

    /// Answers the caller of a command.
    fn answer(&mut self, request: PendingRequest, reply: Reply) {
        match (request.command, request.reply) {
            (Command::Leave { request_id, .. }, _) => {
                if reply == Reply::Done {
                    self.note_found(request_id);
                } else {
                    self.answer_leaver(request_id, reply.into());
                }
            }
            (Command::Acquire(acquire), sender) => {
                self.shared.metrics.answered_at_once(&reply);
                let granted = matches!(reply, Reply::Granted(_));
                let answer = self.promise(reply, request.arrived).map(Answered::from);
                let handed_on = answer.is_ok();
                let delivered = sender.is_some_and(|sender| sender.send(answer).is_ok());
                // Also where the lease only may be over: if it stands after all, nobody knows of it.
                if granted && !(handed_on && delivered) {
                    self.on_undelivered(request.id, acquire.version, acquire.chosen, acquire.request_id);
                }
            }
            (Command::GiveBack { version, request_id }, _) if matches!(reply, Reply::Granted(_)) => {
                // The acquire that this one took the place of was applied after all.
                self.enqueue_internal(request.id, Command::GiveBack { version, request_id });
            }
            (_, Some(sender)) => {
                let answer = self.promise(reply, request.arrived).map(Answered::from);
                // Whoever asked has gone; what was asked is done.
                let _ = sender.send(answer);
            }
            (_, None) => {}
        }
    }

    /// Makes a reply one that can be relied on, by the newest reading of the database's clock: its caller counts from
    /// `since` or earlier. Where the clock stepped forward since the decision, the lease lasts for less than was decided.
    ///
    /// A lease that ended before it could be answered is never answered. One shorter than a commit may take is over by
    /// the time the answer arrives anyway; whoever asks for that gets it.
    pub(super) fn promise(&self, mut reply: Reply, since: Instant) -> Result<Reply, EngineError> {
        const SHORTEST_WATCHED_MS: i64 = 100;
        let Reply::Granted(view) = &mut reply else { return Ok(reply) };
        let Some(held) = &mut view.held else { return Ok(reply) };
        let at = Instant::now();
        // A grant comes with a reading. Where that is old by now, this process stood still, and nobody knows for how long.
        let Some(now) = self.shared.clock.latest(at) else { return Err(EngineError::LeaseOver) };
        let passed = at.saturating_duration_since(since).as_millis();
        let passed_ms = i64::try_from(passed).unwrap_or(i64::MAX / 4);
        let lasts_ms = |from: Timestamp| held.expires_at.ms_since(from).saturating_add(passed_ms);
        let has_stepped = lasts_ms(now.at_least) < held.expires_in_ms;
        let may_be_over = has_stepped || passed_ms >= held.expires_in_ms;
        if may_be_over && now.at_most >= held.expires_at && view.lease_ms >= SHORTEST_WATCHED_MS {
            return Err(EngineError::LeaseOver);
        }
        if has_stepped {
            held.expires_in_ms = lasts_ms(now.at_most).clamp(0, held.expires_in_ms.max(0));
        }
        Ok(reply)
    }

    /// Has works tried again after a pause.
    pub(super) fn postpone_all(&mut self, key_tasks: Vec<KeyTask>, error: &StoreError) {
        let pause = match error {
            StoreError::Transient(_) | StoreError::Blocked(_) => RETRY_SOON,
            StoreError::Unreachable(_)
            | StoreError::Unknown(_)
            | StoreError::Rejected(_)
            | StoreError::ReadOnly(_)
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
            self.timers.set(at, TimerEvent::Retry(Box::new(key_task)));
        }
    }

    /// A write that the database refuses. Its callers are told. A work that may have been written by an earlier attempt
    /// stays until that is settled, and so do the engine's own commands: nobody else would ask again.
    fn fail(&mut self, side: Side, error: EngineError) {
        let Side { mut key_task, verdicts, .. } = side;
        let was_tried = !key_task.attempts.is_empty();
        if !was_tried {
            // The refused write had nothing of these.
            self.park_first(key_task.requests.split_off(verdicts.len()));
        }
        let mut kept = Vec::new();
        for mut request in key_task.requests {
            let maybe_written = was_tried || request.may_be_written();
            let stays = maybe_written || request.reply.is_none();
            let error = if maybe_written { EngineError::UnknownFate } else { error };
            if let Some((request_id, error)) = request.give_up(error) {
                self.tell_waiter(request_id, error);
            }
            if stays {
                kept.push(request);
            }
        }
        let at = Instant::now() + RETRY_REFUSED;
        if was_tried {
            key_task.requests = kept;
            self.timers.set(at, TimerEvent::Retry(Box::new(key_task)));
        } else {
            for request in kept {
                self.timers.set(at, TimerEvent::Later(Box::new(request)));
            }
            self.unpark(&key_task.id);
        }
    }
}
