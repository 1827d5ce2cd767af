//! Those of this replica who stand in queues.
//!
//! Waiting costs memory here and a row in the database, and nothing else: no polling query a waiter. Each waiter is
//! known by the nonce of its attachment. It is answered exactly once: by its grant, or after it has left the queue for
//! certain; who gives up is never left holding.

use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::time::Instant;

use super::{
    super::envelope::{Answered, Audit, EngineError, Envelope, ReplySender},
    Shard, Task,
};
use crate::{
    domain::{Command, KeyId, LeaveReason, Nonce, Place, Queue, Reply, Version},
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

/// The attachment that stands at a place.
const fn nonce_of(place: Place) -> Option<Nonce> {
    match place {
        Place::Attached { nonce, .. } => Some(nonce),
        Place::Detached { .. } => None,
    }
}

impl Shard {
    /// An acquire that was put into the queue waits from now on.
    pub(super) fn register(&mut self, envelope: Envelope, wait_ms: i64) {
        let (version, chosen, nonce) = match &envelope.command {
            Command::Acquire(acquire) => (acquire.version, acquire.chosen, acquire.nonce),
            // The acquire that this took the place of was put into the queue after all.
            Command::GiveBack { version, nonce } => {
                let command = Command::GiveBack { version: *version, nonce: *nonce };
                return self.enqueue_internal(envelope.id, command);
            }
            _ => return,
        };
        let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
        let deadline = envelope.arrived + wait;
        let timer = self.timers.set(deadline, Task::Deadline(nonce, deadline));
        *self.waited_for.entry(envelope.id.clone()).or_insert(0) += 1;
        self.shared.waiting.add(&envelope.id.tenant);
        let gone = envelope.reply.as_ref().is_none_or(tokio::sync::oneshot::Sender::is_closed);
        let waiter = LocalWaiter {
            id: envelope.id,
            version,
            chosen,
            reply: envelope.reply,
            since: Instant::now(),
            timer,
            leaving: None,
        };
        self.waiters.insert(nonce, waiter);
        if gone {
            self.on_hung_up(nonce);
        } else if self.draining {
            self.tell_waiter(nonce, EngineError::Draining);
            self.leave(nonce, LeaveReason::Evicted);
        }
    }

    /// The connection of a waiter went away.
    pub(super) fn on_hung_up(&mut self, nonce: Nonce) {
        if let Some(waiter) = self.waiters.get_mut(&nonce) {
            waiter.reply = None;
            self.leave(nonce, LeaveReason::HungUp);
        }
    }

    /// A waiter has waited until its deadline. That may be long past where its place in the queue was written late; the
    /// time in which it has to be answered begins with the deadline all the same.
    pub(super) fn on_deadline(&mut self, nonce: Nonce, deadline: Instant) {
        if self.waiters.get(&nonce).is_some_and(|waiter| waiter.reply.is_some()) {
            self.leave_since(nonce, LeaveReason::TimedOut, deadline);
        }
    }

    /// Has a waiter leave its queue, unless it is leaving. It is answered when that has been written.
    fn leave(&mut self, nonce: Nonce, reason: LeaveReason) {
        self.leave_since(nonce, reason, Instant::now());
    }

    /// The same for one that should have left at `since`.
    fn leave_since(&mut self, nonce: Nonce, reason: LeaveReason, since: Instant) {
        let Some(waiter) = self.waiters.get_mut(&nonce) else { return };
        if waiter
            .leaving
            .is_some_and(|leaving| reason == LeaveReason::Missing || leaving != LeaveReason::Missing)
        {
            return;
        }
        waiter.leaving = Some(reason);
        let command = Command::Leave { version: waiter.version, nonce, reason };
        let id = waiter.id.clone();
        self.enqueue(Envelope::internal(id, command, since));
    }

    /// A waiter that wanted to leave is answered, unless it was answered while its leave was on its way: then its grant is
    /// its own by now, and the answer to the leave is nobody's.
    pub(super) fn answer_leaver(&mut self, nonce: Nonce, answered: Answered) {
        if self.waiters.contains_key(&nonce) {
            self.answer_waiter(nonce, answered);
        }
    }

    /// A waiter that seemed to be missing stands in its queue after all.
    pub(super) fn note_found(&mut self, nonce: Nonce) {
        if let Some(waiter) = self.waiters.get_mut(&nonce)
            && waiter.leaving == Some(LeaveReason::Missing)
        {
            waiter.leaving = None;
        }
    }

    /// A waiter is answered by the write that served it, and waits no longer.
    pub(super) fn answer_waiter(&mut self, nonce: Nonce, answered: Answered) {
        let Some(waiter) = self.waiters.remove(&nonce) else {
            return self.give_back_unclaimed(nonce, answered.reply);
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
            self.on_undelivered(waiter.id, waiter.version, waiter.chosen, nonce);
        }
    }

    /// A grant that was just made for somebody of whom nothing is known here any more.
    fn give_back_unclaimed(&mut self, nonce: Nonce, reply: Reply) {
        let Reply::Granted(view) = reply else { return };
        if let Some(held) = view.held {
            self.enqueue_internal(view.id, Command::GiveBack { version: held.version, nonce });
        }
    }

    /// Tells a waiter at once that it waits in vain; its place is cleared later.
    pub(super) fn tell_waiter(&mut self, nonce: Nonce, error: EngineError) {
        let sender = self.waiters.get_mut(&nonce).and_then(|waiter| waiter.reply.take());
        if let Some(sender) = sender {
            let _ = sender.send(Err(error));
        }
    }

    /// A grant whose answer reached nobody: given back at once, or kept for a caller that can ask again. When the service stops,
    /// a grant that is kept is left to its lease: its caller can ask again at another replica.
    pub(super) fn on_undelivered(&mut self, id: KeyId, version: Version, chosen: bool, nonce: Nonce) {
        let give_back = Command::GiveBack { version, nonce };
        if !chosen {
            return self.enqueue_internal(id, give_back);
        }
        self.enqueue_internal(id.clone(), Command::Keep { version, nonce });
        if !self.draining {
            let now = Instant::now();
            let envelope = Envelope::internal(id, give_back, now);
            self.timers.set(now + KEPT_FOR, Task::Kept(Box::new(envelope)));
        }
    }

    /// Looks at every key that somebody here waits for.
    pub(super) fn look_around(&mut self) {
        let ids: Vec<_> = self.waited_for.keys().cloned().collect();
        for id in ids {
            self.enqueue_internal(id, Command::Settle);
        }
    }

    /// Compares those who wait here for a key with its queue, where all of it is known: a repeat at another replica may
    /// have taken over a place, and who had it wants to know at once.
    pub(super) fn find_missing(&mut self, id: &KeyId, queue: &Queue) {
        let Some(&here) = self.waited_for.get(id).filter(|_| queue.is_complete()) else { return };
        let nonces = || queue.head.iter().filter_map(|waiter| nonce_of(waiter.place));
        if nonces().filter(|nonce| self.waiters.contains_key(nonce)).count() >= here {
            return;
        }
        let queued: FxHashSet<Nonce> = nonces().collect();
        let is_missing = |nonce: &Nonce, waiter: &LocalWaiter| waiter.id == *id && !queued.contains(nonce);
        let missing: Vec<_> = self
            .waiters
            .iter()
            .filter(|(nonce, waiter)| is_missing(nonce, waiter))
            .map(|(nonce, _)| *nonce)
            .collect();
        for nonce in missing {
            self.leave(nonce, LeaveReason::Missing);
        }
    }

    /// Compares the waiters here with those in the database.
    pub(super) fn on_audit(&mut self, audit: &Audit) {
        let settled = |since: Instant| since + AUDITED_FROM < audit.asked;
        let missing: Vec<_> = self
            .waiters
            .iter()
            .filter(|(nonce, waiter)| settled(waiter.since) && !audit.found.contains_key(nonce))
            .map(|(nonce, _)| *nonce)
            .collect();
        for nonce in missing {
            self.leave(nonce, LeaveReason::Missing);
        }
        // Rows of which nobody here knows. One that was seen so once may just have been answered; a second audit would not
        // find its row any more. A leave takes it out of the queue and, unlike a give-back, never ends a grant.
        let is_stray = |nonce: &Nonce, row: &WaitingRow| {
            !self.waiters.contains_key(nonce) && !self.parked.contains_key(&row.id)
        };
        let strays: FxHashMap<_, _> = audit
            .found
            .iter()
            .filter(|(nonce, row)| is_stray(nonce, row))
            .map(|(nonce, row)| (*nonce, row.clone()))
            .collect();
        let before = std::mem::replace(&mut self.strays, strays.keys().copied().collect());
        for (nonce, row) in strays.into_iter().filter(|(nonce, _)| before.contains(nonce)) {
            let command = Command::Leave { version: row.version, nonce, reason: LeaveReason::Evicted };
            self.enqueue_internal(row.id, command);
        }
    }

    /// Answers all who wait 503, and clears their places.
    pub(super) fn evict(&mut self) {
        let lost = self.shared.obstacle.check().err().unwrap_or(EngineError::PlaceLost);
        let error = if self.draining { EngineError::Draining } else { lost };
        let nonces: Vec<_> = self.waiters.keys().copied().collect();
        for nonce in nonces {
            self.tell_waiter(nonce, error);
            self.leave(nonce, LeaveReason::Evicted);
        }
    }

    /// The service stops, and nobody will be there to do later what was put off: it is done now, but for grants that are kept
    /// for a repeat.
    pub(super) fn begin_draining(&mut self) {
        self.draining = true;
        let mut due = Vec::new();
        self.timers.retain(|task| match task {
            Task::Later(envelope) => {
                due.push((envelope.id.clone(), envelope.command.clone()));
                false
            }
            Task::Kept(_) => false,
            _ => true,
        });
        for (id, command) in due {
            self.enqueue_internal(id, command);
        }
    }
}
