//! Serving the queue: whoever is first gets what is free.

use super::{Context, KEEP_PLACE_MS, Need, OFFER_MS, Working, grants::Taker};
use crate::domain::{Body, Place, Refusal, Reply, permits::Room, queue::Found};

impl Working {
    /// Serves the queue from its front as far as there is room. Returns whether there is room left for a newcomer:
    /// then nobody who waits could have taken it.
    pub(super) fn settle(&mut self, ctx: &Context<'_>) -> Result<bool, Need> {
        self.cut_after_step_back(ctx);
        let mut kept_for_others = 0;
        let mut index = 0;
        loop {
            let room = self.room(ctx);
            if room.count <= kept_for_others {
                return if room.certain {
                    Ok(false)
                } else {
                    Err(Need::Permits(usize::try_from(kept_for_others).unwrap_or(0) + 1))
                };
            }
            let Some(waiter) = self.state.queue.head.get(index) else {
                let known = self.state.queue.head.len();
                return if self.state.queue.is_complete() {
                    Ok(true)
                } else {
                    Err(Need::Heads(known * 2 + 1))
                };
            };
            match waiter.place {
                Place::Detached { until } if ctx.now.is_past(until) => {
                    self.remove_waiter(Found::Head(index), ctx.now);
                }
                Place::Detached { .. } => index += 1,
                Place::Attached { replica, .. } if ctx.me == Some(replica) => {
                    let waiter = self.remove_waiter(Found::Head(index), ctx.now);
                    if let Some(taker) = Taker::waiting(waiter) {
                        let nonce = taker.nonce();
                        let view = self.grant(taker, ctx.now)?;
                        self.effects.answered.push((nonce, Reply::Granted(view)));
                    }
                }
                Place::Attached { replica, .. } if ctx.dead.contains(&replica) => {
                    self.detach(Found::Head(index), ctx)
                }
                Place::Attached { replica, nonce, offered_until: None } => {
                    let offered_until = Some(ctx.now.at_most.plus_ms(OFFER_MS));
                    self.move_waiter(
                        Found::Head(index),
                        Place::Attached { replica, nonce, offered_until },
                        ctx.now,
                    );
                    self.effects.nudged.insert(replica);
                    kept_for_others += 1;
                    index += 1;
                }
                Place::Attached { offered_until: Some(until), .. } if ctx.now.is_past(until) => {
                    self.effects.passed_over += 1;
                    self.detach(Found::Head(index), ctx);
                }
                Place::Attached { .. } => {
                    kept_for_others += 1;
                    index += 1;
                }
            }
        }
    }

    /// Takes the connection away from a waiter: one who chose its version keeps its place for a while, another leaves.
    pub(super) fn detach(&mut self, found: Found, ctx: &Context<'_>) {
        let waiter = self.state.queue.get(found);
        let (chosen, place) = (waiter.chosen, waiter.place);
        self.dismiss(place, Refusal::PassedOver, ctx);
        if chosen {
            let until = ctx.now.at_most.plus_ms(KEEP_PLACE_MS);
            self.move_waiter(found, Place::Detached { until }, ctx.now);
        } else {
            self.remove_waiter(found, ctx.now);
        }
    }

    /// How many more may hold.
    fn room(&self, ctx: &Context<'_>) -> Room {
        match &self.state.body {
            Body::Absent => Room { count: 1, certain: true },
            Body::Mutex(mutex) => {
                let held = mutex.grant.as_ref().is_some_and(|grant| grant.stands(ctx.now));
                Room { count: i32::from(!held), certain: true }
            }
            Body::Semaphore(semaphore) => semaphore.permits.room(semaphore.max_size, ctx.now),
        }
    }

    fn cut_after_step_back(&mut self, ctx: &Context<'_>) {
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
            self.touch(ctx.now);
        }
    }
}
