//! Commands of the engine's own: leave, give back, keep, reap and sweep.

use super::{Context, Decided, KEPT_FOR_REPEAT_MS, KeyChange, Need, Verdict, refuse};
use crate::domain::{
    Body, Kind, LeaveReason, NotGrantedReason, Place, Refusal, ReplicaId, Reply, RequestId, Timestamp,
    Version, Waiter, queue::FoundWaiter,
};

impl KeyChange {
    /// Handles the leave of a waiter of this replica. The waiter may have been granted, taken over or skipped
    /// meanwhile.
    pub(super) fn leave(
        &mut self,
        version: Version,
        request_id: RequestId,
        reason: LeaveReason,
        ctx: &Context,
    ) -> Decided {
        // An earlier command of this decision may have served this waiter. The waiter is answered once, by this
        // verdict.
        if let Some(reply) = self.take_answer(request_id) {
            return Ok(Verdict::Reply(reply));
        }
        let Some(found) = self.state.queue.find(version).map_err(Need::Version)? else {
            return self.leave_unqueued(version, request_id, reason, ctx);
        };
        let waiter = self.state.queue.get(found);
        let Place::Attached { request_id: attached, .. } = waiter.place else {
            return Ok(refuse(Refusal::PlaceLost));
        };
        if attached != request_id {
            return Ok(refuse(Refusal::Superseded));
        }
        match reason {
            LeaveReason::Missing => Ok(Verdict::Reply(Reply::Done)),
            LeaveReason::TimedOut => self.time_out(version, request_id, ctx),
            LeaveReason::HungUp | LeaveReason::Evicted => {
                if waiter.holder.chosen {
                    let until = ctx.now.at_most.plus_ms(KEPT_FOR_REPEAT_MS);
                    self.move_waiter(found, Place::Detached { until });
                } else {
                    self.remove_waiter(found);
                }
                self.serve_queue(ctx)?;
                Ok(refuse(Refusal::PlaceLost))
            }
        }
    }

    /// Handles the end of a waiter's time. The waiter gets a free place if it is its turn. So it is refused only if all
    /// places are held by others or offered to them.
    fn time_out(&mut self, version: Version, request_id: RequestId, ctx: &Context) -> Decided {
        let served = self.serve_fully(ctx);
        if let Some(reply) = self.take_answer(request_id) {
            return Ok(Verdict::Reply(reply));
        }
        served?;
        let Some(found) = self.state.queue.find(version).map_err(Need::Version)? else {
            return self.leave_unqueued(version, request_id, LeaveReason::TimedOut, ctx);
        };
        let position = self.state.queue.position(found);
        self.remove_waiter(found);
        self.serve_queue(ctx)?;
        Ok(refuse(self.not_granted(NotGrantedReason::TimedOut, position, ctx.now)))
    }

    /// Handles a leave of a waiter that is no longer in the queue. The reply reports what became of its version.
    fn leave_unqueued(
        &mut self,
        version: Version,
        request_id: RequestId,
        reason: LeaveReason,
        ctx: &Context,
    ) -> Decided {
        // This applies even if the connection is gone: the engine finds that nobody receives the grant, and gives it
        // back.
        if let Some(view) = self.attached_grant(version, request_id, reason, ctx)? {
            return Ok(Verdict::Reply(Reply::Granted(view)));
        }
        // Another request with the same version has taken over the place and what came of it.
        if self.state.ended.contains(version) || self.is_attached_otherwise(version, request_id)? {
            return Ok(refuse(Refusal::Superseded));
        }
        Ok(refuse(match self.state.body {
            Body::Absent => Refusal::NotFound,
            Body::Mutex(_) | Body::Semaphore(_) => Refusal::PlaceLost,
        }))
    }

    /// Undoes an acquire whose answer did not reach its caller.
    pub(super) fn give_back(&mut self, version: Version, request_id: RequestId, ctx: &Context) -> Decided {
        let done = Ok(Verdict::Reply(Reply::Done));
        if self.take_back(version, request_id, ctx)? {
            self.serve_queue(ctx)?;
            return done;
        }
        if self.state.queue.len == 0 {
            return done;
        }
        if let Some(found) = self.state.queue.find(version).map_err(Need::Version)? {
            let place = self.state.queue.get(found).place;
            if matches!(place, Place::Attached { request_id: attached, .. } if attached == request_id) {
                self.remove_waiter(found);
                self.serve_queue(ctx)?;
            }
        }
        done
    }

    /// Marks a grant whose answer reached nobody, so that a repeat of its acquire has it alone.
    pub(super) fn keep(&mut self, version: Version, request_id: RequestId, ctx: &Context) -> Decided {
        if let Ok(mut target) = self.target(Kind::Mutex, version)? {
            let grant = target.grant_mut();
            if grant.request_id == request_id && grant.is_active(ctx.now) {
                grant.request_id = request_id.kept();
                self.rewrite_target(&target);
            }
        }
        Ok(Verdict::Reply(Reply::Done))
    }

    /// Removes the waiters of a dead replica that this view has from the queue, or detaches them if they keep their
    /// place for a while.
    pub(super) fn reap_replica(&mut self, replica: ReplicaId, ctx: &Context) -> Decided {
        let is_theirs = |waiter: &Waiter| matches!(waiter.place, Place::Attached { replica: theirs, .. } if theirs == replica);
        // From the back: a removal does not move the waiters that are still to be checked.
        for index in (0..self.state.queue.head.len()).rev() {
            if is_theirs(&self.state.queue.head[index]) {
                self.detach(FoundWaiter::Head(index), ctx);
            }
        }
        for index in (0..self.state.queue.named.len()).rev() {
            if is_theirs(&self.state.queue.named[index].0) {
                self.detach(FoundWaiter::Named(index), ctx);
            }
        }
        self.serve_queue(ctx)?;
        Ok(Verdict::Reply(Reply::Done))
    }

    /// Removes a lock that nobody needs any more.
    pub(super) fn sweep(
        &mut self,
        ended_before: Timestamp,
        idle_since: Option<Timestamp>,
        ctx: &Context,
    ) -> Verdict {
        if let Body::Mutex(mutex) = &self.state.body {
            let grant = mutex.grant.as_ref();
            let held = grant.is_some_and(|grant| grant.is_active(ctx.now));
            let goes_with_grant =
                grant.is_some_and(|grant| grant.delete_on_release && grant.expires_at <= ended_before);
            let idle = idle_since.is_some_and(|since| self.state.updated_at <= since);
            if !held && !self.guard_is_busy() && self.state.queue.len == 0 && (goes_with_grant || idle) {
                self.mark_changed(ctx.now);
                self.delete_body(ctx.now);
            }
        }
        Verdict::Reply(Reply::Done)
    }
}
