//! Changing the holder of a guarded mutex.
//!
//! A change is decided in one of two ways. As a rule the guard row is taken to be free, and every change of the holder changes
//! the row too. Where the row was found locked ([`KeyChange::guard_busy`]), the change leaves it alone: a grant that has to end
//! is marked as ended, for good, and the lock is not free before a later change has had the row.

use super::{Context, Decided, KeyChange, Verdict};
use crate::domain::{
    Body, Command, ForcedRelease, Guard, GuardEdit, Kind, LockView, Mutex, Now, Release, Reply,
};

impl Mutex {
    /// Guards the lock, or ends that. It is free.
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
    /// The change of the guard row that belongs to this change.
    pub fn guard_edit(&self) -> Option<GuardEdit> {
        let version = self.state.named_version();
        (version != self.named_before).then_some(GuardEdit { slot: 0, version, token: self.state.token })
    }

    /// Whether the guard row names a grant and cannot be changed now.
    pub(super) fn guard_is_busy(&self) -> bool {
        self.guard_busy.is_some() && self.state.named_version().is_some()
    }

    /// Notes that the grant was ended, in the guard row if that can be changed. `stood` tells whether it was active.
    pub(super) fn end_guard(&mut self, stood: bool) {
        let is_busy = self.guard_is_busy();
        let Body::Mutex(mutex) = &mut self.state.body else { return };
        if mutex.guard.is_named() {
            mutex.guard = match (is_busy, stood) {
                (false, _) => Guard::Free,
                (true, true) => Guard::EndingHeld,
                (true, false) => Guard::EndingExpired,
            };
        }
    }

    /// Finishes the end of a grant that an open transaction was in the way of, where the guard row is taken to be free.
    /// What looks only, and what does this in its own way, is left out.
    pub(super) fn finish_ending(&mut self, command: &Command, now: Now) {
        let is_free = self.state.is_ending() && self.guard_busy.is_none();
        let leaves_it = match command {
            Command::Get(_) | Command::Heartbeat(_) | Command::Keep { .. } | Command::DeleteLock { .. } => {
                true
            }
            Command::Release(Release { version, .. }) => self.state.named_version() == Some(*version),
            Command::ForceRelease(ForcedRelease { version, .. }) => {
                version.is_none() || self.state.named_version() == *version
            }
            _ => false,
        };
        if is_free && !leaves_it {
            self.finish(now);
        }
    }

    /// Has the guard row name nobody, and deletes the lock if that goes with the grant.
    fn finish(&mut self, now: Now) {
        let Body::Mutex(mutex) = &mut self.state.body else { return };
        mutex.guard = Guard::Free;
        let deletes = mutex.grant.as_ref().is_some_and(|grant| grant.delete_on_release);
        self.mark_changed(now);
        if deletes {
            self.delete_body(now);
        }
    }

    /// A release of a grant that was ended before, with its version.
    pub(super) fn release_again(&mut self, ctx: &Context) -> Decided {
        if self.guard_is_busy() {
            return Ok(self.release_open(ctx));
        }
        let Body::Mutex(mutex) = &mut self.state.body else { unreachable!("only a mutex is ending") };
        mutex.guard = Guard::Free;
        self.mark_changed(ctx.now);
        let Verdict::Reply(Reply::Lock { view, .. }) = self.get_lock(ctx) else {
            unreachable!("it is a lock");
        };
        self.finish(ctx.now);
        self.serve_queue(ctx)?;
        Ok(Verdict::Reply(Reply::Released(view)))
    }

    /// The verdict on a release that has to wait for an open transaction.
    pub(super) fn release_open(&self, ctx: &Context) -> Verdict {
        let left = self.lock_view(ctx.now).map(|view| Box::new(LockView { held: None, ..view }));
        Verdict::GuardOpen(left)
    }

    /// Marks a grant whose lease has expired as ended, if the guard row cannot be changed. The caller wants the lock.
    pub(super) fn mark_expired(&mut self, now: Now) {
        if self.guard_is_busy() {
            self.end_expired(now);
        }
    }

    /// Ends a grant whose lease has expired: its place is offered to another replica, which may take a while to claim it.
    pub(super) fn end_for_offer(&mut self, now: Now) {
        self.end_expired(now);
    }

    fn end_expired(&mut self, now: Now) {
        let Body::Mutex(mutex) = &mut self.state.body else { return };
        let is_named = mutex.guard == Guard::Named;
        let Some(grant) = mutex.grant.as_mut().filter(|grant| is_named && !grant.is_active(now)) else {
            return;
        };
        let before = grant.clone();
        grant.released = true;
        self.note_replaced(&before, now.at_most);
        self.end_guard(false);
        self.mark_changed(now);
    }

    /// Whether a PUT has to wait for an open transaction. `unguards` says that it needs the guard row.
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

    /// Marks the grant of a lock that is to be deleted as ended if the guard row cannot be changed. Returns whether the deletion
    /// has to wait.
    pub(super) fn end_before_deletion(&mut self, now: Now) -> bool {
        if !self.guard_is_busy() {
            return false;
        }
        self.mark_expired(now);
        if let Some(version) = self.state.named_version()
            && !self.state.is_ending()
            && let Ok(Ok(target)) = self.target(Kind::Mutex, version)
        {
            self.end(&target, super::EndedHow::Deleted, now);
        }
        true
    }
}
