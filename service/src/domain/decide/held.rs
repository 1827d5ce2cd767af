//! Heartbeat and release. They act on the grant that their version names, or on nothing.

use super::{Context, Decided, EndReason, KeyChange, Need, Verdict, refuse};
use crate::domain::{
    Body, Data, DataEdit, Grant, Heartbeat, Kind, LockView, Mutex, Now, Permit, Refusal, Release, Reply,
    RequestId, Version,
};

/// The grant that a heartbeat or release acts on.
///
/// It is a position in the state and not a reference: deciding also changes the rest of the state, such as the queue and the guard
/// rows. So types cannot say that it fits the state. Each is found and used within one decision, which keeps the kind of the key.
pub(super) enum Target {
    Mutex,
    Permit(usize),
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
        let target = match self.unrevoked(heartbeat.kind, heartbeat.version)? {
            Ok(target) => target,
            Err(refusal) => return Ok(refuse(refusal)),
        };
        let now = ctx.now;
        let (grant, _) = self.grant_and_data(&target);
        if grant.released {
            return Ok(refuse(Refusal::VersionMismatch));
        }
        if now.is_past(grant.expires_at) {
            return Ok(refuse(Refusal::LeaseExpired));
        }
        if let Some(verdict) = self.refuse_edit(&target, &heartbeat.data, ctx) {
            return Ok(verdict);
        }
        let (grant, data) = self.grant_and_data(&target);
        grant.lease_ms = heartbeat.lease_ms.unwrap_or(grant.lease_ms);
        grant.expires_at = now.at_most.plus_ms(grant.lease_ms);
        grant.request_id = heartbeat.request_id;
        edit(data, &heartbeat.data);
        let view = self.write_target(&target, now);
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
        self.release_target(&target, Ending { data, delete_lock, how: EndReason::Released }, ctx)
    }

    /// Releases a grant and serves the queue.
    pub(super) fn release_target(&mut self, target: &Target, ending: Ending<'_>, ctx: &Context) -> Decided {
        if ending.delete_lock
            && let Target::Permit(_) = target
        {
            return Ok(refuse(Refusal::NotForSemaphores("delete_lock")));
        }
        if self.is_ending_target(target) {
            return self.release_again(target, ctx);
        }
        let is_busy = self.is_busy_target(target);
        if self.grant_and_data(target).0.released {
            return Ok(Verdict::Reply(Reply::Released(self.view_of(target, ctx.now))));
        }
        if let Some(verdict) = self.refuse_edit(target, ending.data, ctx) {
            return Ok(verdict);
        }
        let (grant, data) = self.grant_and_data(target);
        edit(data, ending.data);
        let deletes = ending.delete_lock || grant.delete_on_release;
        if is_busy {
            // The lock is deleted when the release is finished later.
            grant.delete_on_release = deletes;
            self.end(target, ending.how, ctx.now);
            return Ok(self.release_open(target, ctx));
        }
        let ended = (grant.version, grant.expires_at);
        self.effects.released.push(ended);
        let view = self.end(target, ending.how, ctx.now);
        if deletes && let Target::Mutex = target {
            self.delete_body(ctx.now);
        }
        if !planted!(LostWakeUp) {
            self.serve_queue(ctx)?;
        }
        Ok(Verdict::Reply(Reply::Released(view)))
    }

    /// Ends the grant of a version and request, if it is active, as its release would. Returns whether there was one.
    pub(super) fn end_attached(
        &mut self,
        version: Version,
        request_id: RequestId,
        ctx: &Context,
    ) -> Result<bool, Need> {
        let Ok(target) = self.target(Kind::Mutex, version)? else { return Ok(false) };
        let (grant, _) = self.grant_and_data(&target);
        let is_another = grant.request_id.kept() != request_id.kept() && !planted!(CleanUpEndsLiveGrant);
        if is_another || !grant.is_active(ctx.now) {
            return Ok(false);
        }
        let deletes = grant.delete_on_release && !self.is_busy_target(&target);
        self.end(&target, EndReason::GivenBack, ctx.now);
        if deletes && let Target::Mutex = target {
            self.delete_body(ctx.now);
        }
        Ok(true)
    }

    /// The view of the grant of a version, if it is active and this request may have it.
    pub(super) fn attached_view(
        &mut self,
        version: Version,
        request_id: RequestId,
        ctx: &Context,
    ) -> Result<Option<LockView>, Need> {
        let Ok(target) = self.target(Kind::Mutex, version)? else { return Ok(None) };
        let (grant, _) = self.grant_and_data(&target);
        // Nobody can repeat a version that the service made, and a grant with the request id `NONE` was answered to
        // everyone who asked.
        let is_own = grant.request_id == request_id || grant.request_id == RequestId::NONE || !grant.chosen;
        if !is_own || !grant.is_active(ctx.now) {
            return Ok(None);
        }
        Ok(Some(self.view_of(&target, ctx.now)))
    }

    /// Whether the grant of a version is on record, active or ended, with another request id.
    pub(super) fn is_attached_otherwise(
        &mut self,
        version: Version,
        request_id: RequestId,
    ) -> Result<bool, Need> {
        let Ok(target) = self.target(Kind::Mutex, version)? else { return Ok(false) };
        Ok(self.grant_and_data(&target).0.request_id != request_id)
    }

    /// The grant that a heartbeat or release acts on. The holder of a grant that was ended by force is answered so for as
    /// long as the revocation is remembered, whatever happened to the key since.
    fn unrevoked(&mut self, kind: Kind, version: Version) -> Result<Result<Target, Refusal>, Need> {
        let target = self.target(kind, version)?;
        // A version that is no longer remembered as ended may have been granted once more.
        let stands = |target: &Target| !self.grant_and_data(target).0.released;
        if matches!(target, Err(Refusal::WrongKind)) || target.as_ref().is_ok_and(stands) {
            return Ok(target);
        }
        Ok(self.state.revoked.find(version).map_or(target, |it| Err(Refusal::Revoked(it.clone()))))
    }

    pub(super) fn target(&self, kind: Kind, version: Version) -> Result<Result<Target, Refusal>, Need> {
        Ok(match (&self.state.body, kind) {
            (Body::Absent, _) => Err(Refusal::NotFound),
            (Body::Mutex(_), Kind::Semaphore) => Err(Refusal::WrongKind),
            (Body::Mutex(mutex), Kind::Mutex) => match &mutex.grant {
                Some(grant) if grant.version == version => Ok(Target::Mutex),
                Some(_) | None => Err(Refusal::VersionMismatch),
            },
            (Body::Semaphore(semaphore), _) => {
                match semaphore.permits.find(version).map_err(Need::Version)? {
                    Some(index) => Ok(Target::Permit(index)),
                    None => Err(Refusal::VersionMismatch),
                }
            }
        })
    }

    pub(super) fn grant_and_data(&mut self, target: &Target) -> (&mut Grant, &mut Option<Data>) {
        match (&mut self.state.body, target) {
            (Body::Mutex(Mutex { grant: Some(grant), data, .. }), Target::Mutex) => (grant, data),
            (Body::Semaphore(semaphore), Target::Permit(index)) => {
                let Permit { grant, data, .. } = &mut semaphore.permits.known[*index];
                (grant, data)
            }
            _ => unreachable!("the target was found in this state"),
        }
    }

    /// Marks the target as ended by release. Returns its view afterwards.
    pub(super) fn end(&mut self, target: &Target, how: EndReason, now: Now) -> LockView {
        let (grant, _) = self.grant_and_data(target);
        let was_active = grant.is_active(now);
        grant.released = true;
        grant.expires_at = grant.expires_at.min(now.at_most);
        self.end_guard(target, was_active);
        if self.effects.ended.is_some() {
            let grant = self.grant_and_data(target).0.clone();
            self.note_end(&grant, how);
        }
        if was_active && let Body::Semaphore(semaphore) = &mut self.state.body {
            semaphore.permits.note_released();
        }
        self.write_target(target, now)
    }

    fn write_target(&mut self, target: &Target, now: Now) -> LockView {
        self.mark_changed(now);
        if let (Body::Semaphore(semaphore), Target::Permit(index)) = (&mut self.state.body, target) {
            let permit = &mut semaphore.permits.known[*index];
            permit.updated_at = now.at_most;
            self.permits.insert(permit.slot);
        }
        self.view_of(target, now)
    }

    /// Marks a target to be written although nothing visible has changed.
    pub(super) fn rewrite_target(&mut self, target: &Target) {
        self.prove();
        if let (Body::Semaphore(semaphore), Target::Permit(index)) = (&self.state.body, target) {
            self.permits.insert(semaphore.permits.known[*index].slot);
        }
    }

    pub(super) fn view_of(&self, target: &Target, now: Now) -> LockView {
        match (&self.state.body, target) {
            (Body::Mutex(mutex), Target::Mutex) => self.mutex_view(mutex, mutex.grant.as_ref(), now),
            (Body::Semaphore(semaphore), Target::Permit(index)) => {
                self.permit_view(&semaphore.permits.known[*index], now)
            }
            _ => unreachable!("the target was found in this state"),
        }
    }
}

fn edit(data: &mut Option<Data>, edit: &DataEdit) {
    match edit {
        DataEdit::Keep => {}
        DataEdit::Set(text) => *data = Some(text.clone()),
        DataEdit::Delete => *data = None,
    }
}
