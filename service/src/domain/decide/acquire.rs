//! Acquire: repeat, reenter, take, wait, or be refused, in this order.

use super::{Context, Decided, KeyChange, Need, Verdict, refuse};
use crate::domain::{
    Acquire, Body, FutureHolder, Kind, NotGrantedReason, Place, Refusal, Reply, RequestId, Waiter,
    WaiterData, WaiterLimit, queue::FoundWaiter,
};

/// The default lease if neither the caller nor a semaphore gives one, in milliseconds.
pub const DEFAULT_LEASE_MS: i64 = 15_000;

impl KeyChange {
    pub(super) fn acquire(&mut self, acquire: &Acquire, ctx: &Context) -> Decided {
        match (&self.state.body, acquire.kind) {
            (Body::Absent, _) | (Body::Mutex(_), Kind::Mutex) | (Body::Semaphore(_), Kind::Semaphore) => {}
            (Body::Mutex(_), Kind::Semaphore) | (Body::Semaphore(_), Kind::Mutex) => {
                return Ok(refuse(Refusal::WrongKind));
            }
        }
        if let Some(verdict) = self.repeated(acquire, ctx)? {
            return Ok(verdict);
        }
        if matches!(self.state.body, Body::Absent)
            && (acquire.kind == Kind::Semaphore || acquire.only_if_exists)
        {
            return Ok(refuse(Refusal::NotFound));
        }
        if acquire.request_id.flags().guarded && !self.can_be_guarded() {
            return Ok(refuse(Refusal::TooLargeToGuard));
        }
        if let Some(verdict) = self.reentered(acquire, ctx) {
            return Ok(verdict);
        }
        if let Some(verdict) = self.refuse_growth(acquire, ctx) {
            return Ok(verdict);
        }
        let lease_ms = self.lease_of(acquire);
        self.mark_expired(ctx.now);
        let overtakes = planted!(NewcomerOvertakes) && self.state.room(ctx.now).count > 0;
        if overtakes || self.serve_fully(ctx)? {
            return self.take(acquire, lease_ms, ctx);
        }
        let wait_ms = wait_of(acquire, lease_ms);
        if wait_ms == 0 {
            return Ok(refuse(self.not_granted(NotGrantedReason::NoWait, None, ctx.now)));
        }
        self.enqueue(acquire, lease_ms, wait_ms, ctx)
    }

    /// Handles an acquire whose version is known. An active grant is answered again, a place in the queue is taken
    /// over, and a version whose grant has ended is refused for good.
    fn repeated(&mut self, acquire: &Acquire, ctx: &Context) -> Result<Option<Verdict>, Need> {
        if acquire.chosen && self.state.ended.contains(acquire.version) {
            return Ok(Some(refuse(Refusal::VersionMismatch)));
        }
        if let Some(target) = self.granted_target(acquire)? {
            let grant = target.grant();
            if grant.owner != acquire.owner || !grant.is_surely_active(ctx.now) {
                return Ok(Some(refuse(Refusal::VersionMismatch)));
            }
            // An earlier command of this decision may have served this request. The verdict below replaces that answer.
            drop(self.take_answer(acquire.request_id));
            // Two requests now have the grant, unless the first answer reached nobody. So no clean-up after one of them
            // ends the grant of the other.
            return Ok(Some(self.reattach_grant(target, acquire.request_id, ctx)));
        }
        if self.state.queue.len == 0 {
            return Ok(None);
        }
        let named = acquire.chosen || acquire.retried;
        let found = match self.state.queue.find(acquire.version) {
            Ok(found) => found,
            Err(version) if named => return Err(Need::Version(version)),
            Err(_) => None,
        };
        found.map(|found| self.take_over(found, acquire, ctx)).transpose()
    }

    /// Lets a repeat take over its place in the queue. The connection that had the place is answered "superseded". If the
    /// repeat would have to wait, and this replica has no room for another waiter, the place stays as it was.
    fn take_over(&mut self, found: FoundWaiter, acquire: &Acquire, ctx: &Context) -> Decided {
        let waiter = self.state.queue.get(found);
        if waiter.holder.owner != acquire.owner {
            return Ok(refuse(Refusal::VersionMismatch));
        }
        let (lease_ms, before) = (waiter.holder.lease_ms, waiter.place);
        let replica = ctx.host()?;
        let offered_until = match before {
            Place::Attached { offered_until, .. } => offered_until,
            Place::Detached { .. } => None,
        };
        let answers_itself =
            matches!(before, Place::Attached { request_id, .. } if request_id == acquire.request_id);
        if !answers_itself {
            self.dismiss(before, Refusal::Superseded, ctx);
        }
        self.move_waiter(found, Place::Attached { replica, request_id: acquire.request_id, offered_until });
        self.serve_queue(ctx)?;
        if let Some(reply) = self.take_answer(acquire.request_id) {
            return Ok(Verdict::Reply(reply));
        }
        let wait_ms = wait_of(acquire, lease_ms);
        // A request that waits here makes room for its repeat.
        let waited_here = matches!(before, Place::Attached { replica: theirs, .. } if theirs == replica);
        if wait_ms > 0
            && !waited_here
            && let Some(limit) = self.waiter_room.limit_reached()
        {
            if let Some(found) = self.state.queue.find(acquire.version).map_err(Need::Version)? {
                // The other replica, which was notified, finds its place as it was.
                self.move_waiter(found, before);
            }
            return Ok(refuse(Refusal::QueueFull(limit)));
        }
        // If the queue was served only in part, it is unknown whether this request gets a grant, so the request waits.
        if wait_ms > 0 || self.effects.unfinished {
            self.waiter_room.take();
            return Ok(Verdict::Waiting { wait_ms });
        }
        let found = self.state.queue.find(acquire.version).map_err(Need::Version)?;
        let position = found.and_then(|found| {
            let position = self.state.queue.position(found);
            self.remove_waiter(found);
            position
        });
        Ok(refuse(self.not_granted(NotGrantedReason::NoWait, position, ctx.now)))
    }

    /// Removes and returns the answer that serving the queue has produced for this request.
    pub(super) fn take_answer(&mut self, asking: RequestId) -> Option<Reply> {
        let index = self.effects.answered.iter().position(|(request_id, _)| *request_id == asking)?;
        Some(self.effects.answered.remove(index).1)
    }

    /// Answers a reentrant acquire with the active grant of the same owner, if there is one.
    fn reentered(&mut self, acquire: &Acquire, ctx: &Context) -> Option<Verdict> {
        let Body::Mutex(mutex) = &mut self.state.body else { return None };
        let reentrant = acquire.request_id.flags().reentrant;
        let grant = mutex
            .grant
            .as_mut()
            .filter(|grant| reentrant && grant.owner == acquire.owner && grant.is_surely_active(ctx.now))?;
        grant.answer_to(acquire.request_id);
        self.prove();
        Some(Verdict::Reply(Reply::Granted(self.lock_view(ctx.now)?)))
    }

    fn lease_of(&self, acquire: &Acquire) -> i64 {
        acquire.lease_ms.unwrap_or(match &self.state.body {
            Body::Semaphore(semaphore) => semaphore.lease_ms,
            Body::Absent | Body::Mutex(_) => DEFAULT_LEASE_MS,
        })
    }

    fn take(&mut self, acquire: &Acquire, lease_ms: i64, ctx: &Context) -> Decided {
        let holder = FutureHolder::of(acquire, lease_ms);
        let view = self.grant(holder, acquire.data.clone(), acquire.request_id, ctx)?;
        Ok(Verdict::Reply(Reply::Granted(view)))
    }

    fn enqueue(&mut self, acquire: &Acquire, lease_ms: i64, wait_ms: i64, ctx: &Context) -> Decided {
        let is_key_full = self.state.queue.len >= ctx.max_waiters_per_key;
        let limit = self.waiter_room.limit_reached().or(is_key_full.then_some(WaiterLimit::Key));
        if let Some(limit) = limit {
            return Ok(refuse(Refusal::QueueFull(limit)));
        }
        let replica = ctx.host()?;
        if let Some(verdict) = self.queue_data(acquire.data.as_ref(), ctx) {
            return Ok(verdict);
        }
        let waiter = Waiter {
            seq: self.state.queue.next_seq,
            holder: FutureHolder::of(acquire, lease_ms),
            data: WaiterData::Read(acquire.data.clone()),
            place: Place::Attached { replica, request_id: acquire.request_id, offered_until: None },
        };
        self.write_waiter(waiter.clone());
        self.state.queue.push(waiter);
        self.waiter_room.take();
        Ok(Verdict::Waiting { wait_ms })
    }
}

/// The time that an acquire waits. A time that follows from a default is cut to the maximum; a given time was validated
/// before.
fn wait_of(acquire: &Acquire, lease_ms: i64) -> i64 {
    match acquire.wait_ms {
        Some(wait_ms) => wait_ms + acquire.additional_wait_ms,
        None => lease_ms.saturating_add(acquire.additional_wait_ms).min(acquire.max_wait_ms),
    }
}
