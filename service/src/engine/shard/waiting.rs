//! The waiters of this replica: how they begin to wait, are answered, and leave their queues.

use std::{convert::Infallible, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{Shard, drain::Drain, local_waiters::DueWaiter};
use crate::{
    domain::{Command, KeyId, LeaveReason, Queue, Reply, RequestId},
    engine::{
        key_task::KeyTask,
        message::{UndeliveredGrant, WaiterCheck},
        pending_request::{Answered, PendingRequest, ReplySender},
        waiter_count::Reservation,
    },
    unavailable::Unavailable,
};

impl Shard {
    /// Registers the waiter of an acquire that was put into its queue. Its room was reserved when it was decided.
    pub(super) fn register(&mut self, request: PendingRequest, wait_ms: i64, reserved: &mut Reservation) {
        let (version, chosen, request_id) = match &request.command {
            Command::Acquire(acquire) => (acquire.version, acquire.chosen, acquire.request_id),
            // This command replaced an acquire that was put into the queue after all.
            Command::GiveBack { version, request_id } => {
                let command = Command::GiveBack { version: *version, request_id: *request_id };
                return self.enqueue_internal(request.id, command);
            }
            _ => return,
        };
        let deadline = request.arrived + Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
        let is_gone = request.reply.as_ref().is_none_or(ReplySender::is_closed);
        self.shared.waiting.add(&request.id.tenant, reserved);
        self.shared.membership.expect_offers();
        self.waiters.insert(request_id, request, version, chosen, deadline);
        if is_gone {
            self.on_hung_up(request_id);
        } else if self.drain.has_begun() {
            self.evict_one(request_id, Unavailable::ShuttingDown);
        }
    }

    /// Makes a waiter leave because its caller has gone.
    pub(super) fn on_hung_up(&mut self, request_id: RequestId) {
        self.waiters.drop_caller(request_id);
        self.leave(request_id, LeaveReason::HungUp, Instant::now());
    }

    /// Makes a waiter leave because its deadline has passed. If its row was written late, the deadline may have passed
    /// long ago. Even then the time within which the waiter must be answered begins at the deadline.
    pub(super) fn on_deadline(&mut self, due: &DueWaiter) {
        self.leave(due.request_id, LeaveReason::TimedOut, due.deadline);
    }

    /// Makes a waiter leave its queue, unless it is leaving already. The waiter is answered when its leave is durable.
    fn leave(&mut self, request_id: RequestId, reason: LeaveReason, since: Instant) {
        if let Some(request) = self.waiters.leave(request_id, reason, since) {
            self.enqueue(request);
        }
    }

    /// Notes in the leaves of a task that their waiters were answered before the task was gathered. So no such leave is
    /// decided as if its caller waited for one more answer.
    pub(super) fn note_answered(&self, key_task: &mut KeyTask) {
        for request in &mut key_task.requests {
            if let Command::Leave { request_id, reason, .. } = &mut request.command
                && !self.waiters.contains(*request_id)
            {
                *reason = LeaveReason::Evicted;
            }
        }
    }

    /// Handles the reply to a leave. If the waiter was granted while its leave was under way, it was answered already
    /// and ignores this reply.
    pub(super) fn on_left(&mut self, request_id: RequestId, reply: Reply, sent: Instant) {
        if reply == Reply::Done {
            self.waiters.note_found(request_id);
        } else if self.waiters.contains(request_id) {
            self.answer_waiter(request_id, reply.into(), sent);
        }
    }

    /// Answers a waiter. `sent` is when the statement that served the waiter was sent.
    pub(super) fn answer_waiter(&mut self, request_id: RequestId, answered: Answered, sent: Instant) {
        let Some(waiter) = self.waiters.remove(request_id) else {
            return self.give_back_unclaimed(request_id, answered.reply);
        };
        self.shared.waiting.remove(&waiter.id.tenant);
        let Answered { mut reply, freed_at } = answered;
        self.shared.metrics.answered_after(waiter.since.elapsed(), &reply);
        let granted = matches!(reply, Reply::Granted(_));
        let version = reply.granted_version(waiter.version);
        if granted {
            self.shared.membership.expect_offers();
        }
        let answer = self.make_lease_certain(&mut reply, sent).map(|()| Answered { reply, freed_at });
        let is_certain = answer.is_ok();
        let delivered = waiter.reply.is_some_and(|sender| sender.send(answer));
        if granted && !(is_certain && delivered) {
            self.on_undelivered(UndeliveredGrant {
                id: waiter.id,
                version,
                chosen: waiter.chosen,
                request_id,
            });
        }
    }

    /// Gives back a grant for a waiter that is no longer known here.
    fn give_back_unclaimed(&mut self, request_id: RequestId, reply: Reply) {
        let Reply::Granted(view) = reply else { return };
        if let Some(held) = view.held {
            self.enqueue_internal(view.id, Command::GiveBack { version: held.version, request_id });
        }
    }

    /// Handles a grant whose answer did not reach its caller: gives it back at once, or keeps it for a caller that can
    /// repeat its request. While the service stops, a kept grant is left to its lease, because its caller can repeat
    /// the request at another replica.
    pub(super) fn on_undelivered(&mut self, grant: UndeliveredGrant) {
        let UndeliveredGrant { id, version, chosen, request_id } = grant;
        let give_back = Command::GiveBack { version, request_id };
        if !chosen {
            return self.enqueue_internal(id, give_back);
        }
        self.enqueue_internal(id.clone(), Command::Keep { version, request_id });
        if !self.drain.has_begun() {
            self.intake.give_back_later(id, give_back);
        }
    }

    /// Serves the queues of all keys with waiters at this replica.
    pub(super) fn serve_all_queues(&mut self) {
        for id in self.waiters.keys() {
            self.enqueue_internal(id, Command::ServeQueue);
        }
    }

    /// Makes waiters leave that are missing from the queue of their key. The reply reports to each one what became of it.
    pub(super) fn leave_if_missing(&mut self, id: &KeyId, queue: &Queue, now: Instant) {
        for request_id in self.waiters.missing_from(id, queue) {
            self.leave(request_id, LeaveReason::Missing, now);
        }
    }

    /// Compares the waiters with those in the database.
    pub(super) fn on_waiter_check(&mut self, check: &WaiterCheck) {
        let now = Instant::now();
        for request_id in self.waiters.without_row(check) {
            self.leave(request_id, LeaveReason::Missing, now);
        }
        let intake = &self.intake;
        for (request_id, row) in self.waiters.orphans(check, |id| intake.is_busy(id)) {
            // A leave is used because, unlike a give-back, it never ends a grant.
            let command = Command::Leave { version: row.version, request_id, reason: LeaveReason::Evicted };
            self.enqueue_internal(row.id, command);
        }
    }

    /// Answers all waiters 503 and removes them from their queues.
    pub(super) fn evict(&mut self) {
        let lost = self.shared.write_refusal.check().err().unwrap_or(Unavailable::PlaceLost);
        let error = if self.drain.has_begun() { Unavailable::ShuttingDown } else { lost };
        for request_id in self.waiters.request_ids() {
            self.evict_one(request_id, error);
        }
    }

    fn evict_one(&mut self, request_id: RequestId, error: Unavailable) {
        self.waiters.fail(request_id, error);
        self.leave(request_id, LeaveReason::Evicted, Instant::now());
    }

    /// Begins to stop. Commands that were due later are carried out now.
    pub(super) fn begin_draining(&mut self, until_idle: mpsc::Sender<Infallible>) {
        self.drain = Drain::UntilIdle(until_idle);
        self.refuse_guarded();
        for request in self.intake.begin_stop() {
            self.enqueue(request);
        }
    }
}
