//! Waiters that lose their connection, their offer, or their place in the queue.

use super::{Context, KEPT_FOR_REPEAT_MS, KeyChange};
use crate::domain::{Place, Refusal, queue::FoundWaiter};

impl KeyChange {
    /// Removes detached waiters whose time is over from the known front, whether or not there is room. If this change
    /// becomes full, the next look at the key, which is due at once, removes the rest.
    pub(super) fn drop_lapsed(&mut self, ctx: &Context) {
        let lapsed = |place: Place| matches!(place, Place::Detached { until } if ctx.now.is_past(until));
        while !self.is_full()
            && let Some(index) = self.state.queue.head.iter().position(|waiter| lapsed(waiter.place))
        {
            self.remove_waiter(FoundWaiter::Head(index));
        }
    }

    /// Withdraws lapsed offers of places that no longer exist, because of a shrink or a step back of the clock. No
    /// replica is to blame for them, and an offer in the past would cause one look at the key after another.
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
                    FoundWaiter::Head(index),
                    Place::Attached { replica, request_id, offered_until: None },
                );
            }
        }
    }

    /// Detaches a waiter from its connection. A waiter that chose its version keeps its place for a while; any other
    /// leaves.
    pub(super) fn detach(&mut self, found: FoundWaiter, ctx: &Context) {
        let waiter = self.state.queue.get(found);
        let (chosen, place) = (waiter.holder.chosen, waiter.place);
        self.dismiss(place, Refusal::PlaceLost, ctx);
        if chosen {
            let until = ctx.now.at_most.plus_ms(KEPT_FOR_REPEAT_MS);
            self.move_waiter(found, Place::Detached { until });
        } else {
            self.remove_waiter(found);
        }
    }
}
