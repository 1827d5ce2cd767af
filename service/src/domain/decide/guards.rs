//! Changes of the holders of a guarded key.
//!
//! A change is decided in one of two ways. Normally guard rows are taken to be free, and every change of a holder
//! changes its guard row too. If a row was found locked ([`KeyChange::guard_busy`]), the change leaves the row alone: a
//! grant that has to end is marked as ended for good, and the lock is not free before a later change has changed the
//! row.

use super::{Context, Decided, KeyChange, Verdict, held::Target};
use crate::domain::{
    Body, Command, ForcedRelease, Guard, GuardEdit, Kind, LockView, Mutex, Now, Permit, Release, Reply, Token,
};

impl Mutex {
    /// Starts or stops guarding the lock, which must be free.
    pub(super) const fn set_guarded(&mut self, guarded: Option<bool>) {
        match guarded {
            None => {}
            Some(true) if self.guard.is_on() => {}
            Some(true) => self.guard = Guard::Free,
            Some(false) => self.guard = Guard::Off,
        }
    }
}

impl KeyChange {
    /// The changes of guard rows that belong to this change.
    pub fn guard_edits(&self) -> Vec<GuardEdit> {
        let named = self.state.named_versions();
        if named == self.named_before || (planted!(GuardSkipped) && self.guard_busy.is_some()) {
            return Vec::new();
        }
        let gone = self.named_before.keys().filter(|slot| !named.contains_key(slot));
        let gone = gone.map(|slot| GuardEdit { slot: *slot, version: None, token: self.state.token });
        let new = named.iter().filter(|(slot, version)| self.named_before.get(slot) != Some(version));
        let new = new.map(|(slot, version)| GuardEdit {
            slot: *slot,
            version: Some(*version),
            token: self.token_in(*slot),
        });
        gone.chain(new).collect()
    }

    /// The edit of the guard row of a mutex, if this change consists of the mutex's row and that edit; `None` for any other
    /// change.
    pub fn only_guard_edit(&self) -> Option<GuardEdit> {
        let is_mutex = !matches!(self.state.body, Body::Semaphore(_));
        if !is_mutex || self.has_children() || !self.effects.notified.is_empty() {
            return None;
        }
        <[GuardEdit; 1]>::try_from(self.guard_edits()).ok().map(|[edit]| edit)
    }

    /// Whether this change needs guard rows.
    pub fn needs_guard_rows(&self) -> bool {
        match &self.state.body {
            Body::Mutex(mutex) if !mutex.guard.is_named() => !self.named_before.is_empty(),
            _ => self.state.named_versions() != self.named_before,
        }
    }

    /// The token of the grant of a slot.
    fn token_in(&self, slot: i32) -> Token {
        let Body::Semaphore(semaphore) = &self.state.body else { return self.state.token };
        let permit = semaphore.permits.known.iter().find(|permit| permit.slot == slot);
        permit.map_or(self.state.token, |permit| permit.grant.token)
    }

    /// Whether the guard row of a slot names a grant and cannot be changed now.
    pub(super) fn is_busy(&self, slot: i32) -> bool {
        let Some(busy) = &self.guard_busy else { return false };
        busy.slots.contains(&slot)
            && !planted!(GuardSkipped)
            && match &self.state.body {
                Body::Mutex(mutex) => mutex.guard.is_named(),
                Body::Semaphore(semaphore) => semaphore.permits.named.contains_key(&slot),
                Body::Absent => false,
            }
    }

    /// Whether the guard row of a mutex names a grant and cannot be changed now.
    pub(super) fn guard_is_busy(&self) -> bool {
        matches!(self.state.body, Body::Mutex(_)) && self.is_busy(0)
    }

    /// Whether any guard row names a grant and cannot be changed now.
    pub(super) fn some_row_is_busy(&self) -> bool {
        self.guard_busy.as_ref().is_some_and(|busy| busy.slots.iter().any(|slot| self.is_busy(*slot)))
    }

    /// Whether the guard row of a target names a grant and cannot be changed now.
    pub(super) fn is_busy_target(&self, target: &Target) -> bool {
        self.guard_busy.is_some() && self.is_busy(target.slot())
    }

    /// Whether a target was ended and only its guard row still has to be changed.
    pub(super) fn is_ending_target(&self, target: &Target) -> bool {
        match (target, &self.state.body) {
            (Target::Permit(permit), Body::Semaphore(semaphore)) => semaphore.permits.is_ending(permit),
            _ => self.state.guard().is_ending(),
        }
    }

    /// Notes that a grant was ended, in its guard row if that can be changed. `was_active` says whether the grant was
    /// active.
    pub(super) fn end_guard(&mut self, target: &Target, was_active: bool) {
        let (is_busy, slot) = (self.is_busy_target(target), target.slot());
        match &mut self.state.body {
            Body::Mutex(mutex) if mutex.guard.is_named() => {
                mutex.guard = match (is_busy, was_active) {
                    (false, _) => Guard::Free,
                    (true, true) => Guard::EndingHeld,
                    (true, false) => Guard::EndingExpired,
                };
            }
            Body::Semaphore(semaphore) if !is_busy => {
                semaphore.permits.named.remove(&slot);
            }
            Body::Mutex(_) | Body::Semaphore(_) | Body::Absent => {}
        }
    }

    /// Finishes the end of grants for which open transactions were in the way, if their guard rows are taken to be
    /// free. Commands that only read, or that do this in their own way, are left out.
    pub(super) fn finish_ending(&mut self, command: &Command, now: Now) {
        if !self.state.is_ending() {
            return;
        }
        let is_semaphore = matches!(self.state.body, Body::Semaphore(_));
        let leaves_it = match command {
            Command::Get(_) | Command::Heartbeat(_) | Command::Keep { .. } | Command::DeleteLock { .. } => {
                true
            }
            Command::Release(Release { version, .. }) => {
                is_semaphore || self.state.named_version() == Some(*version)
            }
            Command::ForceRelease(ForcedRelease { version, .. }) => {
                is_semaphore || version.is_none() || self.state.named_version() == *version
            }
            _ => false,
        };
        if leaves_it {
            return;
        }
        if let Body::Semaphore(semaphore) = &self.state.body {
            let ending = semaphore.permits.ending().map(|permit| permit.slot);
            let free: Vec<_> = ending.filter(|slot| !self.is_busy(*slot)).collect();
            for slot in free {
                self.clear_guard_row(slot, now);
            }
        } else if self.guard_busy.is_none() {
            self.finish(now);
        }
    }

    /// Makes the guard row of a permit name no grant.
    fn clear_guard_row(&mut self, slot: i32, now: Now) {
        if let Body::Semaphore(semaphore) = &mut self.state.body {
            semaphore.permits.named.remove(&slot);
            self.mark_changed(now);
        }
    }

    /// Makes the guard row of a mutex name no grant, and deletes the lock if it ends with the grant.
    fn finish(&mut self, now: Now) {
        let Body::Mutex(mutex) = &mut self.state.body else { return };
        mutex.guard = Guard::Free;
        let deletes = mutex.grant.as_ref().is_some_and(|grant| grant.delete_on_release);
        self.mark_changed(now);
        if deletes {
            self.delete_body(now);
        }
    }

    /// Handles the release of a grant that was already ended and waits for its guard row.
    pub(super) fn release_again(&mut self, target: &Target, ctx: &Context) -> Decided {
        if self.is_busy_target(target) {
            return Ok(self.release_open(target, ctx));
        }
        self.clear_guard_row(target.slot(), ctx.now);
        if let Body::Mutex(mutex) = &mut self.state.body {
            mutex.guard = Guard::Free;
            self.mark_changed(ctx.now);
        }
        let view = self.view_of(target, ctx.now);
        self.finish(ctx.now);
        self.serve_queue(ctx)?;
        Ok(Verdict::Reply(Reply::Released(view)))
    }

    /// The verdict on a release that has to wait for an open transaction.
    pub(super) fn release_open(&self, target: &Target, ctx: &Context) -> Verdict {
        Verdict::GuardOpen(Some(Box::new(LockView { held: None, ..self.view_of(target, ctx.now) })))
    }

    /// Marks expired grants as ended if their guard rows cannot be changed. Called when a place is wanted.
    pub(super) fn mark_expired(&mut self, now: Now) {
        if self.guard_busy.is_some() {
            self.end_expired(now, true);
        }
    }

    /// Ends expired grants before a place is offered to another replica, which may take a while to claim it.
    pub(super) fn end_for_offer(&mut self, now: Now) {
        self.end_expired(now, false);
    }

    /// Ends the named grants that have expired and whose guard row is busy, or not busy, as `busy` says.
    fn end_expired(&mut self, now: Now, busy: bool) {
        let expired: Vec<_> = match &self.state.body {
            Body::Mutex(mutex) => {
                let is_named = mutex.guard == Guard::Named;
                let has_expired = mutex.grant.as_ref().is_some_and(|grant| !grant.is_active(now));
                Target::of_mutex(mutex).filter(|_| is_named && has_expired).into_iter().collect()
            }
            Body::Semaphore(semaphore) => {
                let has_expired = |permit: &&Permit| {
                    !permit.grant.released
                        && !permit.grant.is_active(now)
                        && semaphore.permits.is_named(permit)
                };
                semaphore.permits.known.iter().filter(has_expired).cloned().map(Target::Permit).collect()
            }
            Body::Absent => Vec::new(),
        };
        for target in expired {
            if self.is_busy_target(&target) == busy {
                self.end_expired_target(target, now);
            }
        }
    }

    pub(super) fn end_expired_target(&mut self, mut target: Target, now: Now) {
        self.note_replaced(target.grant(), now.at_most);
        target.grant_mut().released = true;
        self.end_guard(&target, false);
        self.mark_changed(now);
        self.rewrite_target(&target);
    }

    /// Whether a PUT of a lock has to wait for an open transaction. `unguards` says that the PUT needs the guard row.
    pub(super) fn is_kept_by_transaction(&mut self, unguards: bool, now: Now) -> bool {
        if unguards {
            self.mark_expired(now);
        }
        match &self.state.body {
            Body::Mutex(mutex) => {
                mutex.guard == Guard::EndingHeld || (unguards && mutex.guard == Guard::EndingExpired)
            }
            Body::Absent | Body::Semaphore(_) => false,
        }
    }

    /// Marks the grant of a lock that is to be deleted as ended if its guard row cannot be changed. Returns whether the
    /// deletion has to wait.
    pub(super) fn end_before_deletion(&mut self, now: Now) -> bool {
        if !self.guard_is_busy() {
            return false;
        }
        self.mark_expired(now);
        if let Some(version) = self.state.named_version()
            && !self.state.is_ending()
            && let Ok(Ok(mut target)) = self.target(Kind::Mutex, version)
        {
            self.end(&mut target, super::EndReason::Deleted, now);
        }
        true
    }
}
