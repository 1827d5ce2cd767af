//! Changes of the holders of a guarded key.
//!
//! A change is decided in one of two ways. Normally guard rows are taken to be free, and every change of a holder
//! changes its guard row too. If a row was found locked ([`KeyChange::guard_busy`]), the change leaves the row alone: a
//! grant that has to end is marked as ended for good, and the lock is not free before a later change has changed the
//! row.

use super::{KeyChange, target::Target};
use crate::domain::{Body, Guard, GuardEdit, Kind, Mutex, Now, Token};

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
