//! The forced release: an operator ends a grant, and its former holder learns of it.

use super::{Context, Decided, EndReason, KeyChange, Verdict, held::Ending, refuse, target::Target};
use crate::domain::{Body, ForcedRelease, Kind, Refusal, Reply, Revocation, Version, VersionDigest};

impl KeyChange {
    /// Ends the grant of a version, or the active grant of a lock if no version is given. Without an active grant
    /// nothing changes.
    pub(super) fn force_release(&mut self, forced: &ForcedRelease, ctx: &Context) -> Decided {
        let version = match self.version_to_revoke(forced) {
            Ok(Some(version)) => version,
            Ok(None) => {
                let view = self.lock_view(ctx.now);
                return Ok(
                    view.map_or(refuse(Refusal::NotFound), |view| Verdict::Reply(Reply::Released(view)))
                );
            }
            Err(refusal) => return Ok(refuse(refusal)),
        };
        let target = match self.target(forced.kind, version)? {
            Ok(target) => target,
            Err(refusal) => return Ok(refuse(refusal)),
        };
        if forced.delete_lock
            && let Target::Permit(_) = target
        {
            return Ok(refuse(Refusal::NotForSemaphores("delete_lock")));
        }
        if self.is_ending_target(&target) {
            return self.release_again(&target, ctx);
        }
        if !target.grant().is_active(ctx.now) {
            return Ok(Verdict::Reply(Reply::Released(self.view_of(&target, ctx.now))));
        }
        // Before the revocation is noted: what is refused changes nothing.
        if let Some(verdict) = self.refuse_edit(&target, &forced.data, ctx) {
            return Ok(verdict);
        }
        let (by, reason) = (forced.by.clone(), forced.reason.clone());
        let revocation = Revocation { digest: VersionDigest::of(version), at: ctx.now.at_most, by, reason };
        self.state.revoked.push(revocation, ctx.now);
        let (data, delete_lock) = (&forced.data, forced.delete_lock);
        self.release_target(target, Ending { data, delete_lock, how: EndReason::Forced }, ctx)
    }

    /// The version of the grant to end; `None` for a lock that was not granted since it was created.
    fn version_to_revoke(&self, forced: &ForcedRelease) -> Result<Option<Version>, Refusal> {
        match (forced.version, &self.state.body, forced.kind) {
            (Some(version), ..) => Ok(Some(version)),
            (None, Body::Absent, _) => Err(Refusal::NotFound),
            (None, Body::Semaphore(_), _) => Err(Refusal::VersionRequired),
            (None, Body::Mutex(_), Kind::Semaphore) => Err(Refusal::WrongKind),
            (None, Body::Mutex(mutex), Kind::Mutex) => Ok(mutex.grant.as_ref().map(|grant| grant.version)),
        }
    }
}
