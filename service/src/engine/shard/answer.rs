//! Answers the callers of a key task whose verdicts hold.

use std::time::Duration;

use tokio::time::Instant;

use super::{Shard, trail};
use crate::{
    domain::{Command, Effects, KeyId, KeyState, OFFER_MS, Reply, Timestamp, Verdict},
    engine::{
        grant_log,
        key_task::KeyTask,
        message::UndeliveredGrant,
        pending_request::{Answered, PendingRequest},
    },
    unavailable::Unavailable,
};

/// A key task whose verdicts hold: its change is durable, or nothing had to be written.
#[derive(Debug)]
pub(super) struct FinishedTask {
    pub(super) key_task: KeyTask,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) effects: Effects,
    pub(super) state: Box<KeyState>,
    /// The amount by which the store raised the decided tokens.
    pub(super) raised: i64,
    /// The database's time when it wrote or loaded the state.
    pub(super) db_time: Timestamp,
    /// When the statement that wrote or loaded the state was sent. Served waiters were decided on before that.
    pub(super) sent: Instant,
}

impl Shard {
    /// Answers the callers of a task and the waiters that it served, and caches the state. Commands without a verdict
    /// are decided next.
    pub(super) fn finish(&mut self, finished: FinishedTask) {
        let FinishedTask { mut key_task, verdicts, effects, mut state, raised, db_time, sent } = finished;
        self.intake.park_first(key_task.requests.split_off(verdicts.len()));
        let (id, mut reserved) = (key_task.id, key_task.reserved);
        grant_log::log_change(&id, &key_task.requests, &verdicts, &effects);
        if self.shared.audit.is_on() {
            let (id, state, requests, verdicts) = (&id, &*state, &key_task.requests, &verdicts);
            let (effects, at, is_answered) = (&effects, db_time, true);
            let change = trail::Change { id, state, requests, verdicts, effects, raised, at, is_answered };
            trail::record(&self.shared.audit, &change, &self.waiters);
        }
        self.shared.metrics.expired(effects.expired);
        let mut freed = self.freed_instants(&key_task.requests, &effects);
        for (mut request, verdict) in key_task.requests.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Reply(mut reply) => {
                    reply.raise_token(raised);
                    request.correct_if_finished_elsewhere(&mut reply);
                    self.answer(request, reply, sent);
                }
                Verdict::Waiting { wait_ms } => self.register(request, wait_ms, &mut reserved),
                Verdict::GuardOpen(left) => self.park_for_guard(request, left, Instant::now()),
                Verdict::Unknown => {
                    if let Some(sender) = request.reply {
                        // The receiver is gone if the caller has hung up.
                        sender.send(Err(Unavailable::UnknownOutcome));
                    }
                }
            }
        }
        for (request_id, mut reply) in effects.answered {
            reply.raise_token(raised);
            let freed_at = freed.iter().position(|(served, _)| *served == request_id);
            let freed_at = freed_at.map(|index| freed.swap_remove(index).1);
            self.answer_waiter(request_id, Answered { reply, freed_at }, sent);
        }
        self.shared.metrics.notified(effects.notified.len(), effects.skipped);
        for replica in effects.suspects {
            self.shared.membership.mark_suspect(replica, &id.tenant);
        }
        let now = Instant::now();
        if state.queue.len > 0
            && let Some(time) = self.shared.clock.now(now)
        {
            self.offers.keep(&mut state.queue, time, OFFER_MS, now);
        }
        self.set_key_timer(&id, &state, now);
        self.leave_if_missing(&id, &state.queue, now);
        self.free(&id);
        self.note_guard(&id, state.is_ending());
        if effects.unfinished {
            self.enqueue_internal(id.clone(), Command::ServeQueue);
        }
        self.cache.put(id, state, now);
    }

    /// Answers the caller of a command.
    fn answer(&mut self, request: PendingRequest, mut reply: Reply, sent: Instant) {
        match (request.command, request.reply) {
            (Command::Leave { request_id, .. }, _) => self.on_left(request_id, reply, sent),
            (Command::Acquire(acquire), sender) => {
                self.shared.metrics.answered_at_once(&reply);
                let granted = matches!(reply, Reply::Granted(_));
                let version = reply.granted_version(acquire.version);
                let answer =
                    self.make_lease_certain(&mut reply, request.arrived).map(|()| Answered::from(reply));
                let is_certain = answer.is_ok();
                let delivered = sender.is_some_and(|sender| sender.send(answer));
                // Give the grant back even if its lease has only perhaps ended: no caller knows of the grant.
                if granted && !(is_certain && delivered) {
                    self.on_undelivered(UndeliveredGrant {
                        id: request.id,
                        version,
                        chosen: acquire.chosen,
                        request_id: acquire.request_id,
                    });
                }
            }
            (Command::GiveBack { version, request_id }, _) if matches!(reply, Reply::Granted(_)) => {
                // This command replaced an acquire that was applied after all.
                let version = reply.granted_version(version);
                self.enqueue_internal(request.id, Command::GiveBack { version, request_id });
            }
            (_, Some(sender)) => {
                let answer =
                    self.make_lease_certain(&mut reply, request.arrived).map(|()| Answered::from(reply));
                // The receiver is gone if the caller has hung up. The command was carried out nevertheless.
                sender.send(answer);
            }
            (_, None) => {}
        }
    }

    /// Makes the remaining lease of a reply certain by the newest reading of the database's clock. The caller counts its
    /// lease from `since` or earlier. If the clock stepped forward after the decision, the lease is shorter than was
    /// decided.
    ///
    /// Fails if the lease ended before its answer. Very short leases are excepted: a commit may take longer than they
    /// last, and they are over when the answer arrives anyway.
    pub(super) fn make_lease_certain(&self, reply: &mut Reply, since: Instant) -> Result<(), Unavailable> {
        const SHORTEST_CHECKED_MS: i64 = 100;
        let Reply::Granted(view) = reply else { return Ok(()) };
        let Some(held) = &mut view.held else { return Ok(()) };
        let at = Instant::now();
        // Each grant brings a reading of the clock. If that reading is too old, this process was paused for an unknown
        // time.
        let Some(now) = self.shared.clock.latest(at) else { return Err(Unavailable::LeaseOver) };
        let passed = at.saturating_duration_since(since).as_millis();
        let passed_ms = i64::try_from(passed).unwrap_or(i64::MAX / 4);
        let lasts_ms = |from: Timestamp| held.expires_at.ms_since(from).saturating_add(passed_ms);
        let has_stepped = lasts_ms(now.at_least) < held.expires_in_ms;
        let may_be_over = has_stepped || passed_ms >= held.expires_in_ms;
        if may_be_over && now.at_most >= held.expires_at && view.lease_ms >= SHORTEST_CHECKED_MS {
            return Err(Unavailable::LeaseOver);
        }
        if has_stepped {
            held.expires_in_ms = lasts_ms(now.at_most).clamp(0, held.expires_in_ms.max(0));
        }
        Ok(())
    }

    /// Sets the timer of a key to the next time at which its queue may have to be served.
    fn set_key_timer(&mut self, id: &KeyId, state: &KeyState, now: Instant) {
        const MIN_DELAY: Duration = Duration::from_millis(1);
        if (state.queue.len == 0 && !self.key_timers.contains(id)) || planted!(LostWakeUp) {
            return;
        }
        let at = match self.shared.clock.now(now) {
            Some(time) => {
                let suspects = self.shared.membership.suspects();
                let event = state.next_event(time, |replica| suspects.contains(replica, &id.tenant));
                event.and_then(|event| self.shared.clock.instant_of(event))
            }
            // The database's time is unknown and has to be asked for first.
            None => (state.queue.len > 0).then_some(now),
        };
        self.key_timers.set(id, at.map(|at| at.max(now + MIN_DELAY)));
    }
}
