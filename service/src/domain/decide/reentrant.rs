//! Reentrant waiters: the owner of a lock has it also where else it waits for it.

use super::{Context, KeyChange};
use crate::domain::{Body, Mutex, Owner, Place, Reply, Waiter, queue::FoundWaiter};

impl KeyChange {
    /// Answers reentrant waiters of this replica with the grant that their owner holds by now.
    pub(super) fn reenter(&mut self, ctx: &Context) {
        let waits_here = |waiter: &Waiter, owner: &Owner| {
            let here = matches!(waiter.place, Place::Attached { replica, request_id, .. }
                if ctx.me == Some(replica) && request_id.flags().reentrant);
            here && waiter.holder.owner == *owner
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
            self.remove_waiter(FoundWaiter::Head(index));
            let view = self.lock_view(ctx.now);
            self.effects.answered.extend(view.map(|view| (request_id, Reply::Granted(view))));
        }
    }

    /// Notifies other replicas where the same owner waits with a reentrant acquire, so that they look at the key.
    pub(super) fn notify_reentrant(&mut self, owner: &Owner, ctx: &Context) {
        for waiter in self.state.queue.head.iter().filter(|waiter| waiter.holder.owner == *owner) {
            if let Place::Attached { replica, request_id, .. } = waiter.place
                && request_id.flags().reentrant
                && ctx.me != Some(replica)
                && !ctx.dead.contains(&replica)
            {
                self.effects.notified.insert(replica);
            }
        }
    }
}
