//! The acquires of this replica that wait in queues.
//!
//! A waiter costs memory here and a row in the database; nothing polls for it. Its request id identifies it. A waiter
//! is answered exactly once: with its grant, or after its row was removed. So a caller that gave up never holds
//! anything.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    SeededMap, SeededSet,
    audit::Origin,
    domain::{Command, KeyId, LeaveReason, Owner, Place, Queue, RequestId, Version},
    engine::{
        message::WaiterCheck,
        pending_request::{PendingRequest, ReplySender},
        timers::Timers,
    },
    store::WaitingRow,
    unavailable::Unavailable,
};

/// The minimum age of a waiter that a check can report as missing. The row of a waiter is written before the waiter is
/// registered here; this age leaves time for a database whose reads lag behind.
const CHECKED_FROM: Duration = Duration::from_millis(500);

/// The origin of a waiter's request, for the audit log.
#[derive(Debug, Clone)]
pub(super) struct WaiterOrigin {
    /// The request.
    pub(super) origin: Arc<Origin>,
    /// The owner of the future grant.
    pub(super) owner: Owner,
    /// Whether the caller was answered with an error, although the row is still in the queue.
    pub(super) has_failed: bool,
}

/// A waiter that has reached its deadline.
#[derive(Debug)]
pub(super) struct DueWaiter {
    pub(super) request_id: RequestId,
    pub(super) deadline: Instant,
}

/// An acquire that waits.
#[derive(Debug)]
pub(super) struct LocalWaiter {
    /// The key.
    pub(super) id: KeyId,
    /// The version of the future grant.
    pub(super) version: Version,
    /// Whether the caller chose the version, and so can repeat its request.
    pub(super) chosen: bool,
    /// The channel to the caller; `None` if the caller has gone or was answered an error, so that only the row is left.
    pub(super) reply: Option<ReplySender>,
    /// The origin of the request, if the audit log is on.
    origin: Option<WaiterOrigin>,
    /// When the wait began.
    pub(super) since: Instant,
    /// The number of the deadline's timer.
    timer: u64,
    /// The reason to leave, while a leave is under way. One leave per waiter is enough.
    leaving: Option<LeaveReason>,
}

/// The waiters of a shard.
#[derive(Debug, Default)]
pub(super) struct LocalWaiters {
    by_request: SeededMap<RequestId, LocalWaiter>,
    /// The number of waiters per key. Keys without waiters have no entry.
    per_key: SeededMap<KeyId, usize>,
    deadlines: Timers<DueWaiter>,
    /// Requests that the last check found in the database but not here.
    orphans: SeededSet<RequestId>,
}

impl LocalWaiters {
    /// Adds a waiter.
    pub(super) fn insert(
        &mut self,
        request_id: RequestId,
        request: PendingRequest,
        version: Version,
        chosen: bool,
        deadline: Instant,
    ) {
        let timer = self.deadlines.set(deadline, DueWaiter { request_id, deadline });
        *self.per_key.entry(request.id.clone()).or_insert(0) += 1;
        let origin = match (request.origin, &request.command) {
            (Some(origin), Command::Acquire(acquire)) => {
                Some(WaiterOrigin { origin, owner: acquire.owner.clone(), has_failed: false })
            }
            _ => None,
        };
        let waiter = LocalWaiter {
            id: request.id,
            version,
            chosen,
            reply: request.reply,
            origin,
            since: Instant::now(),
            timer,
            leaving: None,
        };
        self.by_request.insert(request_id, waiter);
    }

    /// Removes and returns a waiter.
    pub(super) fn remove(&mut self, request_id: RequestId) -> Option<LocalWaiter> {
        let waiter = self.by_request.remove(&request_id)?;
        self.deadlines.stop(waiter.timer);
        if let Some(count) = self.per_key.get_mut(&waiter.id) {
            *count -= 1;
            if *count == 0 {
                self.per_key.remove(&waiter.id);
            }
        }
        Some(waiter)
    }

    /// The origin of a waiter's request, if the audit log is on.
    pub(super) fn origin(&self, request_id: RequestId) -> Option<&WaiterOrigin> {
        self.by_request.get(&request_id)?.origin.as_ref()
    }

    /// Whether a request waits here.
    pub(super) fn contains(&self, request_id: RequestId) -> bool {
        self.by_request.contains_key(&request_id)
    }

    /// Whether a key has waiters here.
    pub(super) fn has_key(&self, id: &KeyId) -> bool {
        self.per_key.contains_key(id)
    }

    /// Whether nobody waits here.
    pub(super) fn is_empty(&self) -> bool {
        self.by_request.is_empty()
    }

    /// The keys with waiters.
    pub(super) fn keys(&self) -> Vec<KeyId> {
        self.per_key.keys().cloned().collect()
    }

    /// The requests that wait.
    pub(super) fn request_ids(&self) -> Vec<RequestId> {
        self.by_request.keys().copied().collect()
    }

    /// The next waiter that has reached its deadline and was not answered.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<DueWaiter> {
        while let Some(due) = self.deadlines.pop_due(now) {
            if self.by_request.get(&due.request_id).is_some_and(|waiter| waiter.reply.is_some()) {
                return Some(due);
            }
        }
        None
    }

    /// The next deadline.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.deadlines.next_at()
    }

    /// Answers a waiter with an error at once. Its row stays.
    pub(super) fn fail(&mut self, request_id: RequestId, error: Unavailable) {
        let Some(waiter) = self.by_request.get_mut(&request_id) else { return };
        if let Some(sender) = waiter.reply.take() {
            if let Some(origin) = &mut waiter.origin {
                origin.has_failed = true;
            }
            // The receiver is gone if the caller has hung up.
            sender.send(Err(error));
        }
    }

    /// Removes the channel to a waiter's caller.
    pub(super) fn drop_caller(&mut self, request_id: RequestId) -> Option<ReplySender> {
        self.by_request.get_mut(&request_id)?.reply.take()
    }

    /// The command by which a waiter leaves its queue; `None` if a leave is under way already. A leave with reason
    /// `Missing` does not prevent a leave for another reason. `since` is when the waiter should have left.
    pub(super) fn leave(
        &mut self,
        request_id: RequestId,
        reason: LeaveReason,
        since: Instant,
    ) -> Option<PendingRequest> {
        let waiter = self.by_request.get_mut(&request_id)?;
        let is_enough = |leaving| reason == LeaveReason::Missing || leaving != LeaveReason::Missing;
        if waiter.leaving.is_some_and(is_enough) {
            return None;
        }
        waiter.leaving = Some(reason);
        let command = Command::Leave { version: waiter.version, request_id, reason };
        Some(PendingRequest::internal(waiter.id.clone(), command, since))
    }

    /// Notes that the row of a seemingly missing waiter was found in its queue.
    pub(super) fn note_found(&mut self, request_id: RequestId) {
        if let Some(waiter) = self.by_request.get_mut(&request_id)
            && waiter.leaving == Some(LeaveReason::Missing)
        {
            waiter.leaving = None;
        }
    }

    /// The waiters of a key that are missing from its queue; none unless the whole queue is loaded. A repeat at another
    /// replica may have taken over the place of a waiter.
    pub(super) fn missing_from(&self, id: &KeyId, queue: &Queue) -> Vec<RequestId> {
        let Some(&here) = self.per_key.get(id).filter(|_| queue.is_complete()) else { return Vec::new() };
        let request_ids = || queue.head.iter().filter_map(|waiter| request_id_of(waiter.place));
        if request_ids().filter(|request_id| self.by_request.contains_key(request_id)).count() >= here {
            return Vec::new();
        }
        let queued: SeededSet<RequestId> = request_ids().collect();
        let is_missing =
            |request_id: &RequestId, waiter: &LocalWaiter| waiter.id == *id && !queued.contains(request_id);
        self.filter_ids(is_missing)
    }

    /// The waiters whose rows a check should have found but did not.
    pub(super) fn without_row(&self, check: &WaiterCheck) -> Vec<RequestId> {
        self.filter_ids(|request_id, waiter| {
            waiter.since + CHECKED_FROM < check.asked && !check.found.contains_key(request_id)
        })
    }

    /// The rows without a waiter here, found by this check and by the one before. A row that only one check finds may
    /// belong to a waiter that was just answered.
    pub(super) fn orphans(
        &mut self,
        check: &WaiterCheck,
        is_busy: impl Fn(&KeyId) -> bool,
    ) -> Vec<(RequestId, WaitingRow)> {
        let is_orphan = |request_id: &RequestId, row: &WaitingRow| {
            !self.by_request.contains_key(request_id) && !is_busy(&row.id)
        };
        let orphans: SeededMap<_, _> = check
            .found
            .iter()
            .filter(|(request_id, row)| is_orphan(request_id, row))
            .map(|(request_id, row)| (*request_id, row.clone()))
            .collect();
        let before = std::mem::replace(&mut self.orphans, orphans.keys().copied().collect());
        orphans.into_iter().filter(|(request_id, _)| before.contains(request_id)).collect()
    }

    fn filter_ids(&self, is_wanted: impl Fn(&RequestId, &LocalWaiter) -> bool) -> Vec<RequestId> {
        let wanted = self.by_request.iter().filter(|(request_id, waiter)| is_wanted(request_id, waiter));
        wanted.map(|(request_id, _)| *request_id).collect()
    }
}

/// The request id at a place in a queue; `None` for a detached waiter.
const fn request_id_of(place: Place) -> Option<RequestId> {
    match place {
        Place::Attached { request_id, .. } => Some(request_id),
        Place::Detached { .. } => None,
    }
}

#[cfg(test)]
mod tests;
