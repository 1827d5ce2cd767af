//! Heartbeat and release. They act on the grant that their version names, or on nothing.

use super::{Context, Decided, EndReason, KeyChange, Need, Verdict, refuse};
use crate::domain::{
    Body, Data, DataEdit, GivenBack, Grant, Heartbeat, Kind, LeaveReason, LockView, Mutex, Now, Permit,
    Refusal, Release, Reply, RequestId, Version,
};

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

    fn edit_data(&mut self, edit: &DataEdit) {
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

/// The way in which a release ends its grant.
#[derive(Clone, Copy)]
pub(super) struct Ending<'a> {
    pub(super) data: &'a DataEdit,
    pub(super) delete_lock: bool,
    pub(super) how: EndReason,
}

impl KeyChange {
    pub(super) fn heartbeat(&mut self, heartbeat: &Heartbeat, ctx: &Context) -> Decided {
        let mut target = match self.unrevoked(heartbeat.kind, heartbeat.version)? {
            Ok(target) => target,
            Err(refusal) => return Ok(refuse(refusal)),
        };
        let now = ctx.now;
        let grant = target.grant();
        if grant.released {
            return Ok(refuse(Refusal::VersionMismatch));
        }
        if now.is_past(grant.expires_at) {
            return Ok(refuse(Refusal::LeaseExpired));
        }
        if let Some(verdict) = self.refuse_edit(&target, &heartbeat.data, ctx) {
            return Ok(verdict);
        }
        let grant = target.grant_mut();
        grant.lease_ms = heartbeat.lease_ms.unwrap_or(grant.lease_ms);
        grant.expires_at = now.at_most.plus_ms(grant.lease_ms);
        grant.request_id = heartbeat.request_id;
        target.edit_data(&heartbeat.data);
        let view = self.write_target(&mut target, now);
        Ok(Verdict::Reply(Reply::Granted(view)))
    }

    pub(super) fn release(&mut self, release: &Release, ctx: &Context) -> Decided {
        let version = match &self.state.body {
            Body::Mutex(Mutex { grant: Some(grant), .. }) if planted!(ReleaseIgnoresVersion) => grant.version,
            _ => release.version,
        };
        let target = match self.unrevoked(release.kind, version)? {
            Ok(target) => target,
            Err(refusal) => return Ok(refuse(refusal)),
        };
        let (data, delete_lock) = (&release.data, release.delete_lock);
        self.release_target(target, Ending { data, delete_lock, how: EndReason::Released }, ctx)
    }

    /// Releases a grant and serves the queue.
    pub(super) fn release_target(
        &mut self,
        mut target: Target,
        ending: Ending<'_>,
        ctx: &Context,
    ) -> Decided {
        if ending.delete_lock
            && let Target::Permit(_) = target
        {
            return Ok(refuse(Refusal::NotForSemaphores("delete_lock")));
        }
        if self.is_ending_target(&target) {
            return self.release_again(&target, ctx);
        }
        let is_busy = self.is_busy_target(&target);
        if target.grant().released {
            return Ok(Verdict::Reply(Reply::Released(self.view_of(&target, ctx.now))));
        }
        if let Some(verdict) = self.refuse_edit(&target, ending.data, ctx) {
            return Ok(verdict);
        }
        target.edit_data(ending.data);
        let grant = target.grant_mut();
        let deletes = ending.delete_lock || grant.delete_on_release;
        if deletes || *ending.data != DataEdit::Keep {
            grant.forget_recorded_expiry();
        }
        if is_busy {
            // The lock is deleted when the release is finished later.
            grant.delete_on_release = deletes;
            self.end(&mut target, ending.how, ctx.now);
            return Ok(self.release_open(&target, ctx));
        }
        let ended = (grant.version, grant.expires_at);
        self.effects.released.push(ended);
        let view = self.end(&mut target, ending.how, ctx.now);
        if deletes && let Target::Mutex { .. } = target {
            self.delete_body(ctx.now);
        }
        if !planted!(LostWakeUp) {
            self.serve_queue(ctx)?;
        }
        Ok(Verdict::Reply(Reply::Released(view)))
    }

    /// Takes the active grant of a version back from a request, and ends it, as its release would, if no other request
    /// may rely on it. Returns whether the request had the grant.
    pub(super) fn take_back(
        &mut self,
        version: Version,
        request_id: RequestId,
        ctx: &Context,
    ) -> Result<bool, Need> {
        let Ok(mut target) = self.target(Kind::Mutex, version)? else { return Ok(false) };
        let grant = target.grant();
        if !grant.is_active(ctx.now) {
            return Ok(false);
        }
        match grant.request_id.give_back(request_id) {
            GivenBack::Last => {}
            GivenBack::Nothing | GivenBack::Others(_) if planted!(CleanUpEndsLiveGrant) => {}
            GivenBack::Nothing => return Ok(false),
            GivenBack::Others(left) => {
                target.grant_mut().request_id = left;
                self.rewrite_target(&target);
                return Ok(true);
            }
        }
        let deletes = grant.delete_on_release && !self.is_busy_target(&target);
        self.end(&mut target, EndReason::GivenBack, ctx.now);
        if deletes && let Target::Mutex { .. } = target {
            self.delete_body(ctx.now);
        }
        Ok(true)
    }

    /// The grant of the version of a waiter whose row is gone, if it is active and this request may have it.
    pub(super) fn attached_grant(
        &mut self,
        version: Version,
        request_id: RequestId,
        reason: LeaveReason,
        ctx: &Context,
    ) -> Result<Option<LockView>, Need> {
        let Ok(mut target) = self.target(Kind::Mutex, version)? else { return Ok(None) };
        let grant = target.grant_mut();
        // Nobody can repeat a version that the service made.
        let is_certain = grant.request_id == request_id || !grant.chosen;
        let is_of_several = grant.request_id == RequestId::NONE || grant.request_id.is_of_several();
        if !(is_certain || is_of_several) || !grant.is_active(ctx.now) {
            return Ok(None);
        }
        if !is_certain && reason.has_caller() {
            // It is not known whether this request is one of them. A caller that has gone is not answered: if its
            // request is one of them, its clean-up subtracts it, perhaps after this leave.
            grant.request_id = RequestId::NONE;
        }
        self.rewrite_target(&target);
        Ok(Some(self.view_of(&target, ctx.now)))
    }

    /// Whether the grant of a version is on record, active or ended, with another request id.
    pub(super) fn is_attached_otherwise(
        &self,
        version: Version,
        request_id: RequestId,
    ) -> Result<bool, Need> {
        let Ok(target) = self.target(Kind::Mutex, version)? else { return Ok(false) };
        Ok(target.grant().request_id != request_id)
    }

    /// The grant that a heartbeat or release acts on. The holder of a grant that was ended by force is answered so for as
    /// long as the revocation is remembered, whatever happened to the key since.
    fn unrevoked(&self, kind: Kind, version: Version) -> Result<Result<Target, Refusal>, Need> {
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
    fn write_target(&mut self, target: &mut Target, now: Now) -> LockView {
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
