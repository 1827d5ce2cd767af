//! Serving the queue: whoever is first gets what is free.

use super::{Context, DETACHED_FOR_MS, Freed, KeyChange, Need, OFFER_MS, grants::Taker};
use crate::domain::{Body, Mutex, Owner, Place, Refusal, Reply, Waiter, queue::Found};

/// The most of a queue that one decision serves; the rest is served by the next.
const MOST_AT_ONCE: usize = 128;

/// The most waiters of suspect replicas that one decision goes past. Where there are more, nobody is served before it is known
/// whether those replicas are gone.
const MOST_SUSPECTED: usize = 1_000;

/// How serving one waiter went.
enum Served {
    /// It left the queue, with a grant or without.
    Gone,
    /// A place is kept for it: it is offered to its replica.
    Offered,
    /// It keeps its place, and others go before it meanwhile.
    Passed,
    /// The same, since its replica is suspect.
    Suspected,
}

impl KeyChange {
    /// Serves the queue from its front as far as there is room. Returns whether there is room left for a newcomer:
    /// then nobody who waits could have taken it.
    ///
    /// Where the view ends before the queue or the room does, what was served so far stands, and
    /// [`Effects::unfinished`](super::Effects::unfinished) asks for another look; only where nothing at all could be done
    /// is more needed.
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

    /// Those of this replica who wait for what their owner holds by now, and asked reentrant, are answered with its grant.
    fn reenter(&mut self, ctx: &Context) {
        let waits_here = |waiter: &Waiter, owner: &Owner| {
            let here = matches!(waiter.place, Place::Attached { replica, request_id, .. }
                if ctx.me == Some(replica) && request_id.flags().reentrant);
            here && waiter.owner == *owner
        };
        loop {
            let Body::Mutex(Mutex { grant: Some(grant), .. }) = &mut self.state.body else { return };
            if !grant.is_surely_active(ctx.now) {
                return;
            }
            let found = self.state.queue.head.iter().position(|waiter| waits_here(waiter, &grant.owner));
            let Some(index) = found else { return };
            let Place::Attached { request_id, .. } = self.state.queue.head[index].place else { return };
            grant.answer_to(request_id);
            self.remove_waiter(Found::Head(index));
            let view = self.lock_view(ctx.now);
            self.effects.answered.extend(view.map(|view| (request_id, Reply::Granted(view))));
        }
    }

    fn serve_in_order(&mut self, ctx: &Context) -> Result<bool, Need> {
        let (mut offered, mut index, mut gone, mut suspected) = (0, 0, 0, 0);
        loop {
            let room = self.state.room(ctx.now);
            if room.count <= offered {
                if room.certain {
                    return Ok(false);
                }
                let permits = usize::try_from(offered).unwrap_or(0) + 1;
                return self.unfinished(gone, Need::Permits(permits));
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
            }
        }
    }

    /// Serves the queue for one whose answer depends on what is left. Where that cannot be told before this change is
    /// committed, its command has to wait until then.
    pub(super) fn serve_fully(&mut self, ctx: &Context) -> Result<bool, Need> {
        let is_free = self.serve_queue(ctx)?;
        if self.effects.unfinished { Err(Need::NextBatch) } else { Ok(is_free) }
    }

    /// The view ends: that will do if somebody left the queue in this change, be it before this serving, else `need`.
    /// (A view of the same size would end at the same place again: what shortened it is the change itself.)
    fn unfinished(&mut self, gone: usize, need: Need) -> Result<bool, Need> {
        if gone == 0 && !self.waiters.values().any(Option::is_none) {
            return Err(need);
        }
        self.effects.unfinished = true;
        Ok(false)
    }

    /// An owner is being granted what it waits for at other replicas too, and asked for reentrant: they have a look.
    fn notify_reentrant(&mut self, owner: &Owner, ctx: &Context) {
        for waiter in self.state.queue.head.iter().filter(|waiter| waiter.owner == *owner) {
            if let Place::Attached { replica, request_id, .. } = waiter.place
                && request_id.flags().reentrant
                && ctx.me != Some(replica)
                && !ctx.dead.contains(&replica)
            {
                self.effects.notified.insert(replica);
            }
        }
    }

    /// Serves one waiter, for whom there is room.
    fn serve(&mut self, index: usize, ctx: &Context) -> Result<Served, Need> {
        let found = Found::Head(index);
        match self.state.queue.head[index].place {
            Place::Detached { until } if ctx.now.is_past(until) => {
                self.remove_waiter(found);
                Ok(Served::Gone)
            }
            Place::Detached { .. } => Ok(Served::Passed),
            Place::Attached { replica, .. } if ctx.me == Some(replica) => {
                if let Some(taker) = self.remove_waiter(found).and_then(Taker::waiting) {
                    let request_id = taker.request_id();
                    self.effects.freed.extend(self.freed(ctx).map(|freed| (request_id, freed)));
                    self.notify_reentrant(taker.owner(), ctx);
                    let view = self.grant(taker, ctx)?;
                    self.effects.answered.push((request_id, Reply::Granted(view)));
                }
                Ok(Served::Gone)
            }
            Place::Attached { replica, .. } if ctx.dead.contains(&replica) => Ok(self.skip(found, ctx)),
            Place::Attached { replica, offered_until: None, .. }
                if ctx.suspects.contains(&replica) || self.effects.suspects.contains(&replica) =>
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

    /// Removes places that were kept and lapsed from the known front, whether or not there is room.
    pub(super) fn drop_lapsed(&mut self, ctx: &Context) {
        let lapsed = |place: Place| matches!(place, Place::Detached { until } if ctx.now.is_past(until));
        while let Some(index) = self.state.queue.head.iter().position(|waiter| lapsed(waiter.place)) {
            self.remove_waiter(Found::Head(index));
        }
    }

    /// Withdraws offers that lapsed when the place was gone that they were for (a shrink, a step back of the clock):
    /// nobody is to blame, and an offer in the past would have the key looked at again and again.
    pub(super) fn withdraw_lapsed(&mut self, ctx: &Context) {
        if self.effects.unfinished {
            return;
        }
        for index in 0..self.state.queue.head.len() {
            if let Place::Attached { replica, request_id, offered_until: Some(until) } =
                self.state.queue.head[index].place
                && ctx.now.is_past(until)
            {
                self.move_waiter(
                    Found::Head(index),
                    Place::Attached { replica, request_id, offered_until: None },
                );
            }
        }
    }

    fn skip(&mut self, found: Found, ctx: &Context) -> Served {
        let keeps_place = self.state.queue.get(found).chosen;
        self.detach(found, ctx);
        if keeps_place { Served::Passed } else { Served::Gone }
    }

    /// Takes the connection away from a waiter: one who chose its version keeps its place for a while, another leaves.
    pub(super) fn detach(&mut self, found: Found, ctx: &Context) {
        let waiter = self.state.queue.get(found);
        let (chosen, place) = (waiter.chosen, waiter.place);
        self.dismiss(place, Refusal::PlaceLost, ctx);
        if chosen {
            let until = ctx.now.at_most.plus_ms(DETACHED_FOR_MS);
            self.move_waiter(found, Place::Detached { until });
        } else {
            self.remove_waiter(found);
        }
    }

    /// How the place became free that is granted next.
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
