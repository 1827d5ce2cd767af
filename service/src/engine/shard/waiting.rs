//! Those of this replica who stand in queues.
//!
//! Waiting costs memory here and a row in the database, and nothing else: no polling query a waiter. Each waiter is
//! known by the request id of its request. It is answered exactly once: by its grant, or after it has left the queue for
//! certain; who gives up is never left holding.

use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::time::Instant;

use super::{
    super::pending_request::{Answered, Audit, EngineError, PendingRequest, ReplySender},
    Shard, TimerEvent,
};
use crate::{
    domain::{Command, KeyId, LeaveReason, Place, Queue, Reply, RequestId, Version},
    store::WaitingRow,
};

/// For how long an undelivered grant is kept for a caller that chose its version and may ask again.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// A waiter younger than this is not looked for in an audit. Its row was there before it began to wait here; this leaves
/// time for a database whose reads lag behind.
const AUDITED_FROM: Duration = Duration::from_millis(500);

/// One acquire of this replica that waits.
#[derive(Debug)]
pub(super) struct LocalWaiter {
    /// For which key.
    id: KeyId,
    /// With which version.
    version: Version,
    /// Whether its caller chose it, and can come back with it.
    chosen: bool,
    /// Who is answered; `None` once it was told something or went away, and only its place has to be cleared.
    reply: Option<ReplySender>,
    /// Since when it waits.
    since: Instant,
    /// Its deadline.
    timer: u64,
    /// Why it is leaving, while a command for that is on its way: one is enough.
    leaving: Option<LeaveReason>,
}

/// The request that stands at a place.
const fn request_id_of(place: Place) -> Option<RequestId> {
    match place {
        Place::Attached { request_id, .. } => Some(request_id),
        Place::Detached { .. } => None,
    }
}

impl Shard {
    /// An acquire that was put into the queue waits from now on.
    pub(super) fn register(&mut self, request: PendingRequest, wait_ms: i64) {
        let (version, chosen, request_id) = match &request.command {
            Command::Acquire(acquire) => (acquire.version, acquire.chosen, acquire.request_id),
            // The acquire that this took the place of was put into the queue after all.
            Command::GiveBack { version, request_id } => {
                let command = Command::GiveBack { version: *version, request_id: *request_id };
                return self.enqueue_internal(request.id, command);
            }
            _ => return,
        };
        let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
        let deadline = request.arrived + wait;
        let timer = self.timers.set(deadline, TimerEvent::Deadline(request_id, deadline));
        *self.waited_for.entry(request.id.clone()).or_insert(0) += 1;
        self.shared.waiting.add(&request.id.tenant);
        let gone = request.reply.as_ref().is_none_or(tokio::sync::oneshot::Sender::is_closed);
        let waiter = LocalWaiter {
            id: request.id,
            version,
            chosen,
            reply: request.reply,
            since: Instant::now(),
            timer,
            leaving: None,
        };
        self.waiters.insert(request_id, waiter);
        if gone {
            self.on_hung_up(request_id);
        } else if self.draining {
            self.tell_waiter(request_id, EngineError::Draining);
            self.leave(request_id, LeaveReason::Evicted);
        }
    }

    /// The connection of a waiter went away.
    pub(super) fn on_hung_up(&mut self, request_id: RequestId) {
        if let Some(waiter) = self.waiters.get_mut(&request_id) {
            waiter.reply = None;
            self.leave(request_id, LeaveReason::HungUp);
        }
    }

    /// A waiter has waited until its deadline. That may be long past where its place in the queue was written late; the
    /// time in which it has to be answered begins with the deadline all the same.
    pub(super) fn on_deadline(&mut self, request_id: RequestId, deadline: Instant) {
        if self.waiters.get(&request_id).is_some_and(|waiter| waiter.reply.is_some()) {
            self.leave_since(request_id, LeaveReason::TimedOut, deadline);
        }
    }

    /// Has a waiter leave its queue, unless it is leaving. It is answered when that has been written.
    fn leave(&mut self, request_id: RequestId, reason: LeaveReason) {
        self.leave_since(request_id, reason, Instant::now());
    }

    /// The same for one that should have left at `since`.
    fn leave_since(&mut self, request_id: RequestId, reason: LeaveReason, since: Instant) {
        let Some(waiter) = self.waiters.get_mut(&request_id) else { return };
        if waiter
            .leaving
            .is_some_and(|leaving| reason == LeaveReason::Missing || leaving != LeaveReason::Missing)
        {
            return;
        }
        waiter.leaving = Some(reason);
        let command = Command::Leave { version: waiter.version, request_id, reason };
        let id = waiter.id.clone();
        self.enqueue(PendingRequest::internal(id, command, since));
    }

    /// A waiter that wanted to leave is answered, unless it was answered while its leave was on its way: then its grant is
    /// its own by now, and the answer to the leave is nobody's.
    pub(super) fn answer_leaver(&mut self, request_id: RequestId, answered: Answered) {
        if self.waiters.contains_key(&request_id) {
            self.answer_waiter(request_id, answered);
        }
    }

    /// A waiter that seemed to be missing stands in its queue after all.
    pub(super) fn note_found(&mut self, request_id: RequestId) {
        if let Some(waiter) = self.waiters.get_mut(&request_id)
            && waiter.leaving == Some(LeaveReason::Missing)
        {
            waiter.leaving = None;
        }
    }

    /// A waiter is answered by the write that served it, and waits no longer.
    pub(super) fn answer_waiter(&mut self, request_id: RequestId, answered: Answered) {
        let Some(waiter) = self.waiters.remove(&request_id) else {
            return self.give_back_unclaimed(request_id, answered.reply);
        };
        self.timers.stop(waiter.timer);
        self.shared.waiting.remove(&waiter.id.tenant);
        if let Some(count) = self.waited_for.get_mut(&waiter.id) {
            *count -= 1;
            if *count == 0 {
                self.waited_for.remove(&waiter.id);
            }
        }
        let Answered { reply, freed_at } = answered;
        self.shared.metrics.answered_after(waiter.since.elapsed(), &reply);
        let granted = matches!(reply, Reply::Granted(_));
        let answer = self.promise(reply, self.outcome_sent).map(|reply| Answered { reply, freed_at });
        let handed_on = answer.is_ok();
        let delivered = waiter.reply.is_some_and(|sender| sender.send(answer).is_ok());
        if granted && !(handed_on && delivered) {
            self.on_undelivered(waiter.id, waiter.version, waiter.chosen, request_id);
        }
    }

    /// A grant that was just made for somebody of whom nothing is known here any more.
    fn give_back_unclaimed(&mut self, request_id: RequestId, reply: Reply) {
        let Reply::Granted(view) = reply else { return };
        if let Some(held) = view.held {
            self.enqueue_internal(view.id, Command::GiveBack { version: held.version, request_id });
        }
    }

    /// Tells a waiter at once that it waits in vain; its place is cleared later.
    pub(super) fn tell_waiter(&mut self, request_id: RequestId, error: EngineError) {
        let sender = self.waiters.get_mut(&request_id).and_then(|waiter| waiter.reply.take());
        if let Some(sender) = sender {
            let _ = sender.send(Err(error));
        }
    }

    /// A grant whose answer reached nobody: given back at once, or kept for a caller that can ask again. When the service stops,
    /// a grant that is kept is left to its lease: its caller can ask again at another replica.
    pub(super) fn on_undelivered(
        &mut self,
        id: KeyId,
        version: Version,
        chosen: bool,
        request_id: RequestId,
    ) {
        let give_back = Command::GiveBack { version, request_id };
        if !chosen {
            return self.enqueue_internal(id, give_back);
        }
        self.enqueue_internal(id.clone(), Command::Keep { version, request_id });
        if !self.draining {
            let now = Instant::now();
            let request = PendingRequest::internal(id, give_back, now);
            self.timers.set(now + KEPT_FOR, TimerEvent::Kept(Box::new(request)));
        }
    }

    /// Looks at every key that somebody here waits for.
    pub(super) fn look_around(&mut self) {
        let ids: Vec<_> = self.waited_for.keys().cloned().collect();
        for id in ids {
            self.enqueue_internal(id, Command::ServeQueue);
        }
    }

    /// Compares those who wait here for a key with its queue, where all of it is known: a repeat at another replica may
    /// have taken over a place, and who had it wants to know at once.
    pub(super) fn find_missing(&mut self, id: &KeyId, queue: &Queue) {
        let Some(&here) = self.waited_for.get(id).filter(|_| queue.is_complete()) else { return };
        let request_ids = || queue.head.iter().filter_map(|waiter| request_id_of(waiter.place));
        if request_ids().filter(|request_id| self.waiters.contains_key(request_id)).count() >= here {
            return;
        }
        let queued: FxHashSet<RequestId> = request_ids().collect();
        let is_missing =
            |request_id: &RequestId, waiter: &LocalWaiter| waiter.id == *id && !queued.contains(request_id);
        let missing: Vec<_> = self
            .waiters
            .iter()
            .filter(|(request_id, waiter)| is_missing(request_id, waiter))
            .map(|(request_id, _)| *request_id)
            .collect();
        for request_id in missing {
            self.leave(request_id, LeaveReason::Missing);
        }
    }

    /// Compares the waiters here with those in the database.
    pub(super) fn on_audit(&mut self, audit: &Audit) {
        let settled = |since: Instant| since + AUDITED_FROM < audit.asked;
        let missing: Vec<_> = self
            .waiters
            .iter()
            .filter(|(request_id, waiter)| settled(waiter.since) && !audit.found.contains_key(request_id))
            .map(|(request_id, _)| *request_id)
            .collect();
        for request_id in missing {
            self.leave(request_id, LeaveReason::Missing);
        }
        // Rows of which nobody here knows. One that was seen so once may just have been answered; a second audit would not
        // find its row any more. A leave takes it out of the queue and, unlike a give-back, never ends a grant.
        let is_orphan = |request_id: &RequestId, row: &WaitingRow| {
            !self.waiters.contains_key(request_id) && !self.parked.contains_key(&row.id)
        };
        let orphans: FxHashMap<_, _> = audit
            .found
            .iter()
            .filter(|(request_id, row)| is_orphan(request_id, row))
            .map(|(request_id, row)| (*request_id, row.clone()))
            .collect();
        let before = std::mem::replace(&mut self.orphans, orphans.keys().copied().collect());
        for (request_id, row) in orphans.into_iter().filter(|(request_id, _)| before.contains(request_id)) {
            let command = Command::Leave { version: row.version, request_id, reason: LeaveReason::Evicted };
            self.enqueue_internal(row.id, command);
        }
    }

    /// Answers all who wait 503, and clears their places.
    pub(super) fn evict(&mut self) {
        let lost = self.shared.write_refusal.check().err().unwrap_or(EngineError::PlaceLost);
        let error = if self.draining { EngineError::Draining } else { lost };
        let request_ids: Vec<_> = self.waiters.keys().copied().collect();
        for request_id in request_ids {
            self.tell_waiter(request_id, error);
            self.leave(request_id, LeaveReason::Evicted);
        }
    }

    /// The service stops, and nobody will be there to do later what was put off: it is done now, but for grants that are kept
    /// for a repeat.
    pub(super) fn begin_draining(&mut self) {
        self.draining = true;
        let mut due = Vec::new();
        self.timers.retain(|event| match event {
            TimerEvent::Later(request) => {
                due.push((request.id.clone(), request.command.clone()));
                false
            }
            TimerEvent::Kept(_) => false,
            _ => true,
        });
        for (id, command) in due {
            self.enqueue_internal(id, command);
        }
    }
}
