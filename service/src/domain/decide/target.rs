//! The grant that a command acts on: finding it, ending it, and storing it.

use super::{EndReason, KeyChange, Need};
use crate::domain::{Body, Data, DataEdit, Grant, Kind, LockView, Mutex, Now, Permit, Refusal, Version};

/// A copy of the grant that a command acts on. [`KeyChange::put_target`] stores a changed copy in the state.
///
/// It is no reference into the state, because a decision also changes the rest of the state, such as the queue and the guard rows.
pub(super) enum Target {
    Mutex { grant: Grant, data: Option<Data> },
    Permit(Permit),
}

impl Target {
    /// The grant of a mutex; `None` if it was never granted.
    pub(super) fn of_mutex(mutex: &Mutex) -> Option<Self> {
        mutex.grant.clone().map(|grant| Self::Mutex { grant, data: mutex.data.clone() })
    }

    pub(super) const fn grant(&self) -> &Grant {
        let (Self::Mutex { grant, .. } | Self::Permit(Permit { grant, .. })) = self;
        grant
    }

    pub(super) const fn grant_mut(&mut self) -> &mut Grant {
        let (Self::Mutex { grant, .. } | Self::Permit(Permit { grant, .. })) = self;
        grant
    }

    /// The text that is stored with the mutex or permit.
    pub(super) const fn data(&self) -> Option<&Data> {
        let (Self::Mutex { data, .. } | Self::Permit(Permit { data, .. })) = self;
        data.as_ref()
    }

    pub(super) fn edit_data(&mut self, edit: &DataEdit) {
        let (Self::Mutex { data, .. } | Self::Permit(Permit { data, .. })) = self;
        match edit {
            DataEdit::Keep => {}
            DataEdit::Set(text) => *data = Some(text.clone()),
            DataEdit::Delete => *data = None,
        }
    }

    /// The slot of the guard row.
    pub(super) const fn slot(&self) -> i32 {
        match self {
            Self::Mutex { .. } => 0,
            Self::Permit(permit) => permit.slot,
        }
    }
}

impl KeyChange {
    /// The grant that a heartbeat or release acts on. The holder of a grant that was ended by force is answered so for as
    /// long as the revocation is remembered, whatever happened to the key since.
    pub(super) fn unrevoked(&self, kind: Kind, version: Version) -> Result<Result<Target, Refusal>, Need> {
        let target = self.target(kind, version)?;
        // A version that is no longer remembered as ended may have been granted once more.
        let is_unreleased = |target: &Target| !target.grant().released;
        if matches!(target, Err(Refusal::WrongKind)) || target.as_ref().is_ok_and(is_unreleased) {
            return Ok(target);
        }
        Ok(self.state.revoked.find(version).map_or(target, |it| Err(Refusal::Revoked(it.clone()))))
    }

    pub(super) fn target(&self, kind: Kind, version: Version) -> Result<Result<Target, Refusal>, Need> {
        Ok(match (&self.state.body, kind) {
            (Body::Absent, _) => Err(Refusal::NotFound),
            (Body::Mutex(_), Kind::Semaphore) => Err(Refusal::WrongKind),
            (Body::Mutex(mutex), Kind::Mutex) => {
                let target = Target::of_mutex(mutex).filter(|target| target.grant().version == version);
                target.ok_or(Refusal::VersionMismatch)
            }
            (Body::Semaphore(semaphore), _) => {
                let permit = semaphore.permits.find(version).map_err(Need::Version)?;
                permit.cloned().map(Target::Permit).ok_or(Refusal::VersionMismatch)
            }
        })
    }

    /// Ends the target's grant. Returns its view afterwards.
    pub(super) fn end(&mut self, target: &mut Target, how: EndReason, now: Now) -> LockView {
        let grant = target.grant_mut();
        let was_active = grant.is_active(now);
        let is_early = now.at_most < grant.expires_at;
        grant.released = true;
        grant.expires_at = grant.expires_at.min(now.at_most);
        self.end_guard(target, was_active);
        self.note_end_by(target.grant(), how, is_early);
        if was_active && let Body::Semaphore(semaphore) = &mut self.state.body {
            semaphore.permits.note_released();
        }
        self.write_target(target, now)
    }

    /// Stores a target that has changed visibly. Returns its view.
    pub(super) fn write_target(&mut self, target: &mut Target, now: Now) -> LockView {
        self.mark_changed(now);
        if let Target::Permit(permit) = target {
            permit.updated_at = now.at_most;
        }
        self.put_target(target);
        self.view_of(target, now)
    }

    /// Stores a target whose visible part has not changed, and marks it to be written.
    pub(super) fn rewrite_target(&mut self, target: &Target) {
        self.prove();
        self.put_target(target);
    }

    fn put_target(&mut self, target: &Target) {
        match (target, &mut self.state.body) {
            (Target::Mutex { grant, data }, Body::Mutex(mutex)) => {
                mutex.grant = Some(grant.clone());
                mutex.data.clone_from(data);
            }
            (Target::Permit(permit), Body::Semaphore(semaphore)) => {
                semaphore.permits.replace(permit.clone());
                self.write_permit(permit);
            }
            // The key is of another kind by now, so the grant no longer exists.
            (_, Body::Absent | Body::Mutex(_) | Body::Semaphore(_)) => {}
        }
    }

    pub(super) fn view_of(&self, target: &Target, now: Now) -> LockView {
        match target {
            Target::Mutex { grant, data } => {
                self.mutex_view(Some(grant), data.as_ref(), self.state.guard(), now)
            }
            Target::Permit(permit) => self.permit_view(permit, now),
        }
    }
}
