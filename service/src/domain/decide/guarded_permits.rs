//! Guarded semaphores: the number of guard rows that name a permit, and what has to wait for them.

use super::{Context, KeyChange, Verdict, refuse, target::Target};
use crate::domain::{Body, MOST_GUARDED_PERMITS, Now, Permit, Refusal, Version};

impl KeyChange {
    /// Whether the size of the key allows it to be guarded.
    pub(super) const fn can_be_guarded(&self) -> bool {
        match &self.state.body {
            Body::Semaphore(semaphore) => {
                semaphore.guarded
                    || (semaphore.max_size <= MOST_GUARDED_PERMITS
                        && semaphore.permits.slots <= MOST_GUARDED_PERMITS)
            }
            Body::Absent | Body::Mutex(_) => true,
        }
    }

    /// Whether this change has made a semaphore guarded of which not all permits are known.
    pub(super) fn became_guarded_on_part(&self) -> bool {
        matches!(&self.state.body, Body::Semaphore(semaphore) if semaphore.permits.became_guarded_on_part())
    }

    /// Names a new permit in its guard row, if the semaphore is guarded or `asked` to be. With the new one at most as
    /// many rows name a grant as the semaphore has permits: expired permits beyond that are ended first.
    pub(super) fn name_permit(&mut self, slot: i32, version: Version, asked: bool, now: Now) {
        let can_be_guarded = self.can_be_guarded();
        let Body::Semaphore(semaphore) = &mut self.state.body else { return };
        semaphore.guarded |= asked && can_be_guarded;
        if !semaphore.guarded {
            return;
        }
        semaphore.permits.named.insert(slot, version);
        self.end_beyond_size(now);
    }

    /// Ends expired permits, the earliest first, until no more are named than the semaphore has permits.
    fn end_beyond_size(&mut self, now: Now) {
        loop {
            let Body::Semaphore(semaphore) = &self.state.body else { return };
            let permits = &semaphore.permits;
            if i32::try_from(permits.named.len()).unwrap_or(i32::MAX) <= semaphore.max_size {
                return;
            }
            let has_expired = |permit: &&Permit| {
                !permit.grant.released
                    && !permit.grant.is_active(now)
                    && permits.is_named(permit)
                    && !self.is_busy(permit.slot)
            };
            let expired = permits.known.iter().filter(has_expired);
            let first = expired.min_by_key(|permit| (permit.grant.expires_at, permit.slot));
            let Some(first) = first else { return };
            self.end_expired_target(Target::Permit(first.clone()), now);
        }
    }

    /// The verdict that prevents a PUT of a semaphore; `None` if nothing does. Ends the expired permits that are in the
    /// way.
    pub(super) fn before_resize(
        &mut self,
        max_size: i32,
        guarded: Option<bool>,
        ctx: &Context,
    ) -> Option<Verdict> {
        let (before, is_guarded, slots) = match &self.state.body {
            Body::Semaphore(semaphore) => (semaphore.max_size, semaphore.guarded, semaphore.permits.slots),
            Body::Absent => (max_size, false, 0),
            Body::Mutex(_) => return None,
        };
        let stays = guarded.unwrap_or(is_guarded);
        if stays && (max_size > MOST_GUARDED_PERMITS || (!is_guarded && slots > MOST_GUARDED_PERMITS)) {
            return Some(refuse(Refusal::TooLargeToGuard));
        }
        let Body::Semaphore(semaphore) = &mut self.state.body else { return None };
        let unguards = is_guarded && !stays;
        if unguards && semaphore.permits.known.iter().any(|permit| permit.grant.is_active(ctx.now)) {
            return Some(refuse(Refusal::InUse(self.holders(ctx.now))));
        }
        if !is_guarded || (max_size >= before && !unguards) {
            return None;
        }
        self.mark_expired(ctx.now);
        let Body::Semaphore(semaphore) = &mut self.state.body else { return None };
        semaphore.max_size = if unguards { 0 } else { max_size };
        self.end_beyond_size(ctx.now);
        let Body::Semaphore(semaphore) = &mut self.state.body else { return None };
        semaphore.max_size = before;
        let named = i32::try_from(semaphore.permits.named.len()).unwrap_or(i32::MAX);
        let is_kept = self.state.is_ending() && (unguards || named > max_size);
        is_kept.then_some(Verdict::GuardOpen(None))
    }

    /// Whether only open transactions keep a place from being granted.
    pub(super) fn only_transactions_are_in_the_way(&self, now: Now) -> bool {
        self.state.is_ending()
            && match &self.state.body {
                Body::Semaphore(semaphore) => {
                    let active = semaphore.permits.known.iter().filter(|permit| permit.grant.is_active(now));
                    i32::try_from(active.count()).unwrap_or(i32::MAX) < semaphore.max_size
                }
                Body::Mutex(_) | Body::Absent => true,
            }
    }
}
