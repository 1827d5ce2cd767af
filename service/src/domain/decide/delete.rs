//! Deletions of locks and semaphores.
//!
//! A semaphore has a row for each permit that was ever granted. Other keys wait for the commit of a deletion, so the
//! permits of a large semaphore are deleted in steps, each in a commit of its own: the permits of the last slots first,
//! then the waiters. Between two steps the semaphore is as it was, with fewer slots and waiters. So a step that is lost,
//! or the last one, does no harm, and a permit that is granted meanwhile ends the deletion.

use super::{Context, Decided, KeyChange, Need, Verdict, refuse};
use crate::domain::{
    Body, Deletion, EndedVersions, KeyState, Now, Permit, Permits, Place, Refusal, Reply, Version,
    queue::FoundWaiter, size,
};

/// The number of permits that one step deletes, at least and at most. The most count for waiters too.
const LEAST_AT_ONCE: usize = 128;
const MOST_AT_ONCE: usize = 1_000;

/// The number of permits up to which all are loaded before a deletion, so that each lease that has expired is listed.
const MOST_LISTED: i32 = 1_000;

/// The bytes that the permits or waiters of a step have. The sizes of all permits' data are not known, only those of a
/// part.
const BYTES_AT_ONCE: usize = 4 << 20;

impl KeyChange {
    pub(super) fn delete_lock(&mut self, version: Option<Version>, ctx: &Context) -> Decided {
        let mutex = match &self.state.body {
            Body::Absent => return Ok(refuse(Refusal::NotFound)),
            Body::Semaphore(_) => return Ok(refuse(Refusal::WrongKind)),
            Body::Mutex(mutex) => mutex,
        };
        if let Some(grant) = mutex.grant.as_ref().filter(|grant| grant.is_active(ctx.now)) {
            match version {
                None => return Ok(refuse(Refusal::InUse(self.holders(ctx.now)))),
                Some(version) if version != grant.version => return Ok(refuse(Refusal::VersionMismatch)),
                Some(_) => {}
            }
        }
        if self.end_before_deletion(ctx.now) {
            return Ok(Verdict::GuardOpen(None));
        }
        self.mark_changed(ctx.now);
        self.delete_body(ctx.now);
        self.serve_queue(ctx)?;
        Ok(Verdict::Reply(Reply::Deleted))
    }

    pub(super) fn delete_semaphore(&mut self, ctx: &Context) -> Decided {
        let semaphore = match &self.state.body {
            Body::Absent => return Ok(refuse(Refusal::NotFound)),
            Body::Mutex(_) => return Ok(refuse(Refusal::WrongKind)),
            Body::Semaphore(semaphore) => semaphore,
        };
        let out = semaphore.permits.busy(ctx.now).ok_or(Need::Permits(1))?;
        if out > 0 {
            return Ok(refuse(Refusal::InUse(self.holders(ctx.now))));
        }
        // Only now, since all waiters with their data may be loaded for it.
        if !self.state.queue.is_complete() {
            // The waiters that this change has removed are still at the front of the queue in the database.
            let left = usize::try_from(self.state.queue.len).unwrap_or(usize::MAX);
            return Err(Need::QueuePrefix(left.saturating_add(self.waiters.len())));
        }
        let offered = self.state.queue.head.iter().any(|waiter| match waiter.place {
            Place::Attached { offered_until, .. } => {
                offered_until.is_some_and(|until| !ctx.now.is_past(until))
            }
            Place::Detached { .. } => false,
        });
        if offered {
            return Ok(refuse(Refusal::InUse(self.holders(ctx.now))));
        }
        if !semaphore.permits.can_be_deleted() {
            return Err(Need::Permits(1));
        }
        if ctx.lists_changes
            && semaphore.permits.unknown_from.is_some()
            && semaphore.permits.slots <= MOST_LISTED
        {
            return Err(Need::Permits(MOST_AT_ONCE));
        }
        self.mark_expired(ctx.now);
        if self.some_row_is_busy() {
            return Ok(Verdict::GuardOpen(None));
        }
        if self.delete_last_permits(ctx.now) || self.delete_first_waiters(ctx) {
            return Err(Need::NextBatch);
        }
        self.mark_changed(ctx.now);
        self.delete_body(ctx.now);
        Ok(Verdict::Reply(Reply::Deleted))
    }

    /// Removes waiters, as many as one step may. Returns whether there are more. Since there are free permits, most have
    /// no connection, or are those of replicas that may be dead.
    fn delete_first_waiters(&mut self, ctx: &Context) -> bool {
        let most = at_once(MOST_AT_ONCE);
        for _ in 0..most {
            let Some(waiter) = self.remove_waiter(FoundWaiter::Head(0)) else { return false };
            self.dismiss(waiter.place, Refusal::NotFound, ctx);
            if self.child_bytes >= BYTES_AT_ONCE {
                break;
            }
        }
        self.state.queue.len > 0
    }

    /// Deletes the permits of the last slots, if they are too many for one step. Returns whether it did. No permit may
    /// be active.
    ///
    /// The latest chosen versions are remembered when the semaphore is deleted. If each step remembered those of its
    /// permits, later steps would forget newer versions for older ones. So these permits move to slots that are left, and
    /// the last step remembers all of them.
    fn delete_last_permits(&mut self, now: Now) -> bool {
        let Body::Semaphore(semaphore) = &mut self.state.body else { return false };
        // The permits of a guarded semaphore are few and stay in their slots, since each has a guard row.
        if semaphore.guarded {
            return false;
        }
        let permits = &mut semaphore.permits;
        let Deletion { at_once, data_bytes, .. } =
            permits.deletion.unwrap_or_else(|| Deletion::of(permits, now));
        let latest = permits.latest_chosen();
        let slots = (permits.slots - at_once).max(i32::try_from(latest.len()).unwrap_or(i32::MAX));
        if permits.slots <= at_once.max(slots) {
            return false;
        }
        let deleted = usize::try_from(permits.slots - slots).unwrap_or_default();
        let cut = permits.cut(slots, &latest);
        permits.deletion = Some(Deletion { at: now.at_least, at_once, data_bytes });
        self.count_deleted(deleted, data_bytes);
        self.cleared_from = Some(self.cleared_from.map_or(slots, |from| from.min(slots)));
        self.permits.retain(|slot| *slot < slots);
        self.mark_changed(now);
        for permit in &cut.moved {
            self.write_permit(permit);
        }
        for permit in &cut.gone {
            self.note_replaced(&permit.grant, now.at_most);
        }
        true
    }

    /// Deletes all but the key's token, its ended versions and its queue. The caller marks the change.
    pub(super) fn delete_body(&mut self, now: Now) {
        match std::mem::replace(&mut self.state.body, Body::Absent) {
            Body::Absent => {}
            Body::Mutex(mutex) => {
                if let Some(grant) = mutex.grant {
                    self.note_replaced(&grant, self.state.updated_at);
                    if grant.chosen {
                        self.state.ended.push(grant.version, now);
                    }
                }
            }
            Body::Semaphore(mut semaphore) => {
                let Deletion { data_bytes, .. } =
                    semaphore.permits.deletion.unwrap_or_else(|| Deletion::of(&semaphore.permits, now));
                self.count_deleted(usize::try_from(semaphore.permits.slots).unwrap_or_default(), data_bytes);
                semaphore.permits.known.sort_by_key(|permit| permit.grant.token);
                for permit in &semaphore.permits.known {
                    self.note_replaced(&permit.grant, self.state.updated_at);
                    if permit.grant.chosen {
                        self.state.ended.push(permit.grant.version, now);
                    }
                }
                self.permits.clear();
                self.cleared_from = Some(0);
            }
        }
    }
}

/// The known permits that a step took out of their slots.
struct Cut {
    /// Those that now have an earlier slot.
    moved: Vec<Permit>,
    /// Those that are deleted, in the order of their tokens.
    gone: Vec<Permit>,
}

impl Permits {
    /// The slots of the permits with the latest chosen versions, the latest first.
    fn latest_chosen(&self) -> Vec<i32> {
        let mut chosen: Vec<_> = self.known.iter().filter(|permit| permit.grant.chosen).collect();
        chosen.sort_by_key(|permit| std::cmp::Reverse(permit.grant.token));
        chosen.into_iter().take(EndedVersions::AT_MOST).map(|permit| permit.slot).collect()
    }

    /// Deletes all slots but the first `slots`. Permits in the slots `kept`, of which there are no more, move to earlier
    /// slots instead, without their data: their grants have ended, so nobody sees it any more.
    fn cut(&mut self, slots: i32, kept: &[i32]) -> Cut {
        let (latest, others): (Vec<_>, Vec<_>) =
            self.known.drain(..).partition(|permit| kept.contains(&permit.slot));
        let (mut latest, mut moved): (Vec<_>, Vec<_>) =
            latest.into_iter().partition(|permit| permit.slot < slots);
        let free: Vec<_> = (0..slots).filter(|slot| !kept.contains(slot)).take(moved.len()).collect();
        for (permit, slot) in moved.iter_mut().zip(&free) {
            (permit.slot, permit.data) = (*slot, None);
        }
        let (others, mut gone): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|permit| permit.slot < slots && !free.contains(&permit.slot));
        gone.sort_by_key(|permit| permit.grant.token);
        latest.extend(moved.iter().cloned());
        latest.extend(others);
        (self.known, self.slots) = (latest, slots);
        Cut { moved, gone }
    }
}

impl Deletion {
    /// Begins the deletion of permits.
    fn of(permits: &Permits, now: Now) -> Self {
        // The largest, not the average: only a part of the permits is known.
        let data = permits.known.iter().map(|permit| size::bytes_of(permit.data.as_ref()));
        let data_bytes = data.max().unwrap_or_default();
        let rows = BYTES_AT_ONCE / (KeyState::ROW_BYTES + data_bytes);
        let at_once = at_once(rows.clamp(LEAST_AT_ONCE, MOST_AT_ONCE));
        Self { at: now.at_least, at_once: i32::try_from(at_once).unwrap_or(i32::MAX), data_bytes }
    }
}

/// The number of permits or waiters that a step deletes. Simulations choose fewer.
#[cfg_attr(not(test), expect(clippy::missing_const_for_fn, reason = "tests choose another number"))]
fn at_once(usual: usize) -> usize {
    #[cfg(test)]
    let usual = crate::simulation::hooks::deletion_step(usual);
    usual
}
