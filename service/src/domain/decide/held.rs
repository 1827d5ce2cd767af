//! Heartbeat and release. They act on the grant that their version names, or on nothing.

use super::{Context, Decided, EndReason, KeyChange, Need, Verdict, refuse, target::Target};
use crate::domain::{
    Body, DataEdit, GivenBack, Heartbeat, Kind, LeaveReason, LockView, Mutex, Refusal, Release, Reply,
    RequestId, Version,
};

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
}
