//! Serves the queue: free places go to the first waiters.

use super::{Context, Freed, KeyChange, Need, OFFER_MS};
use crate::domain::{Body, Place, Refusal, Reply, Waiter, WaiterData, queue::FoundWaiter};

/// The maximum number of waiters that one decision serves. The next decision serves the rest.
const MOST_AT_ONCE: usize = 128;

/// The maximum number of waiters of suspect replicas that one decision skips. Beyond that nobody is served until it is
/// known whether those replicas are dead.
const MOST_SUSPECTED: usize = 1_000;

/// The maximum number of waiters whose data is read at once. With the most data that is twice what one change writes.
const MOST_READ_AT_ONCE: usize = 8;

/// The result of serving one waiter.
enum Served {
    /// The waiter left the queue, with or without a grant.
    Gone,
    /// The place is offered to the waiter's replica.
    Offered,
    /// The waiter keeps its place in the queue, and others are served before it.
    Passed,
    /// The waiter keeps its place in the queue, because its replica is suspect, and others are served before it.
    Suspected,
    /// The waiter is served once its data is known.
    Unread,
}

impl KeyChange {
    /// Serves the queue from its front as far as there is room. Returns whether there is room left for a new acquire,
    /// because no waiter could take it.
    ///
    /// If the view ends before the queue or the room does, the waiters served so far remain served, and
    /// [`Effects::unfinished`](super::Effects::unfinished) asks for another look. Only if nothing at all could be done,
    /// a larger view is needed.
    pub(super) fn serve_queue(&mut self, ctx: &Context) -> Result<bool, Need> {
        self.cut_after_step_back(ctx);
        if self.state.queue.len > 0 {
            self.mark_expired(ctx.now);
        }
        self.reenter(ctx);
        let is_free = self.serve_in_order(ctx)?;
        self.reenter(ctx);
        Ok(is_free)
    }

    fn serve_in_order(&mut self, ctx: &Context) -> Result<bool, Need> {
        let (mut offered, mut index, mut gone, mut suspected) = (0, 0, 0, 0);
        loop {
            let room = self.state.room(ctx.now);
            if room.count <= offered {
                if room.certain {
                    return Ok(false);
                }
                if self.dirty && self.became_guarded_on_part() {
                    // After the commit all permits are loaded.
                    self.effects.unfinished = true;
                    return Ok(false);
                }
                return self.unfinished(gone, self.more_permits());
            }
            if index == self.state.queue.head.len() {
                if self.state.queue.is_complete() {
                    return Ok(true);
                }
                return self.unfinished(gone, Need::QueuePrefix(index * 2 + 1));
            }
            if suspected == MOST_SUSPECTED {
                return Ok(false);
            }
            if gone == MOST_AT_ONCE {
                return self.unfinished(gone, Need::QueuePrefix(index + 1));
            }
            if self.is_full() {
                // What this change writes already is progress enough.
                self.effects.unfinished = true;
                return Ok(false);
            }
            match self.serve(index, ctx)? {
                Served::Gone => gone += 1,
                Served::Offered => {
                    offered += 1;
                    index += 1;
                }
                Served::Passed => index += 1,
                Served::Suspected => {
                    suspected += 1;
                    index += 1;
                }
                Served::Unread => {
                    let need = self.data_from(index, room.count, ctx);
                    return self.unfinished(gone, need);
                }
            }
        }
    }

    /// The need for more permits than are known: after a step back of the clock, free ones may end after active ones.
    fn more_permits(&self) -> Need {
        let Body::Semaphore(semaphore) = &self.state.body else { return Need::Permits(1) };
        Need::Permits(semaphore.permits.known.len() + 1)
    }

    /// The need for the data of the next waiters of this replica, as many as there is room for.
    fn data_from(&self, index: usize, room: i32, ctx: &Context) -> Need {
        let is_here = |waiter: &&Waiter| matches!(waiter.place, Place::Attached { replica, .. } if ctx.me == Some(replica));
        let unread = |waiter: &&Waiter| matches!(waiter.data, WaiterData::Unread(_));
        let next = self.state.queue.head.range(index..).filter(is_here).filter(unread);
        let most = usize::try_from(room).unwrap_or_default().clamp(1, MOST_READ_AT_ONCE);
        Need::Data(next.take(most).map(|waiter| waiter.holder.version).collect())
    }

    /// Serves the queue for a command whose answer depends on the room that is left. If the queue cannot be served
    /// fully in this change, the command has to wait until the change is committed.
    pub(super) fn serve_fully(&mut self, ctx: &Context) -> Result<bool, Need> {
        let is_free = self.serve_queue(ctx)?;
        if self.effects.unfinished { Err(Need::NextBatch) } else { Ok(is_free) }
    }

    /// Stops at the end of the view. If this change has removed a waiter, even before this serving, the rest is served
    /// after the commit; otherwise returns `need`. (Loading a view of the same size would not help: it ends earlier
    /// because of this change.)
    fn unfinished(&mut self, gone: usize, need: Need) -> Result<bool, Need> {
        if gone == 0 && !self.waiters.values().any(Option::is_none) {
            return Err(need);
        }
        self.effects.unfinished = true;
        Ok(false)
    }

    /// Serves one waiter, for which there is room.
    fn serve(&mut self, index: usize, ctx: &Context) -> Result<Served, Need> {
        let found = FoundWaiter::Head(index);
        match self.state.queue.head[index].place {
            Place::Detached { until } if ctx.now.is_past(until) => {
                self.remove_waiter(found);
                Ok(Served::Gone)
            }
            Place::Detached { .. } => Ok(Served::Passed),
            place @ Place::Attached { replica, request_id, .. } if ctx.me == Some(replica) => {
                if request_id.flags().guarded && !self.can_be_guarded() {
                    // The semaphore has grown since.
                    self.dismiss(place, Refusal::TooLargeToGuard, ctx);
                    self.remove_waiter(found);
                    return Ok(Served::Gone);
                }
                let WaiterData::Read(data) = &self.state.queue.head[index].data else {
                    return Ok(Served::Unread);
                };
                let data = data.clone();
                if let Some(Waiter { holder, .. }) = self.remove_waiter(found) {
                    self.effects.freed.extend(self.freed(ctx).map(|freed| (request_id, freed)));
                    self.notify_reentrant(&holder.owner, ctx);
                    let view = self.grant(holder, data, request_id, ctx)?;
                    self.effects.answered.push((request_id, Reply::Granted(view)));
                }
                Ok(Served::Gone)
            }
            Place::Attached { replica, .. } if ctx.dead.contains(&replica) => Ok(self.skip(found, ctx)),
            Place::Attached { replica, offered_until: None, .. }
                if ctx.suspects.contains(replica, &self.id.tenant)
                    || self.effects.suspects.contains(&replica) =>
            {
                Ok(Served::Suspected)
            }
            Place::Attached { replica, request_id, offered_until: None } => {
                self.end_for_offer(ctx.now);
                let offered_until = Some(ctx.now.at_most.plus_ms(OFFER_MS));
                self.move_waiter(found, Place::Attached { replica, request_id, offered_until });
                self.effects.notified.insert(replica);
                Ok(Served::Offered)
            }
            Place::Attached { replica, offered_until: Some(until), .. }
                if ctx.now.is_past(until) && !planted!(OfferNeverLapses) =>
            {
                self.effects.skipped += 1;
                self.effects.suspects.insert(replica);
                Ok(self.skip(found, ctx))
            }
            Place::Attached { .. } => Ok(Served::Offered),
        }
    }

    fn skip(&mut self, found: FoundWaiter, ctx: &Context) -> Served {
        let keeps_place = self.state.queue.get(found).holder.chosen;
        self.detach(found, ctx);
        if keeps_place { Served::Passed } else { Served::Gone }
    }

    /// When and how the place that is granted next became free.
    fn freed(&self, ctx: &Context) -> Option<Freed> {
        let grant = match &self.state.body {
            Body::Absent => None,
            Body::Mutex(mutex) => mutex.grant.as_ref(),
            Body::Semaphore(semaphore) => semaphore.permits.longest_free(ctx.now).map(|permit| &permit.grant),
        };
        grant.map(|grant| Freed { at: grant.expires_at, by_release: grant.released })
    }

    fn cut_after_step_back(&mut self, ctx: &Context) {
        let mut cut = false;
        match &mut self.state.body {
            Body::Absent => {}
            Body::Mutex(mutex) => {
                cut = mutex.grant.as_mut().is_some_and(|grant| grant.cut_after_step_back(ctx.now));
            }
            Body::Semaphore(semaphore) => {
                for permit in &mut semaphore.permits.known {
                    if permit.grant.cut_after_step_back(ctx.now) {
                        self.permits.insert(permit.slot);
                        cut = true;
                    }
                }
            }
        }
        if cut {
            self.mark_changed(ctx.now);
        }
    }
}
