//! The end of grants of a guarded key, in their guard rows if those can be changed.

use super::{Context, Decided, KeyChange, Verdict, target::Target};
use crate::domain::{Body, Command, ForcedRelease, Guard, LockView, Now, Permit, Release, Reply};

impl KeyChange {
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
}
