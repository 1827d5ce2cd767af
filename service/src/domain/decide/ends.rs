//! The ends of grants, for metrics, log and audit log.

use super::{Context, Decided, KeyChange, Verdict};
use crate::domain::{Grant, Kind, Owner, Reply, RequestId, Timestamp, Token, Version};

/// A grant that a change ended, or found to have expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How the grant ended.
    pub how: EndReason,
    /// The owner.
    pub owner: Owner,
    /// The version.
    pub version: Version,
    /// The fencing token.
    pub token: Token,
    /// When the grant ended.
    pub at: Timestamp,
    /// Whether the grant ended before its lease did. Then no other write has ended it at the same time.
    pub is_early: bool,
}

/// How a grant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Its holder released it.
    Released,
    /// An operator ended it by force.
    Forced,
    /// Its answer reached nobody, so it was given back.
    GivenBack,
    /// Its lease expired without a release. The change that takes its place notices this: the next grant, or a
    /// deletion.
    Expired,
    /// Its lock was deleted while it was held.
    Deleted,
}

impl KeyChange {
    /// Notes a grant that is replaced by another, or whose lock is deleted, at `now`.
    pub(super) fn note_replaced(&mut self, grant: &Grant, now: Timestamp) {
        if grant.released {
            return;
        }
        let expired = grant.expires_at <= now;
        self.effects.expired += u64::from(expired);
        if grant.request_id != RequestId::EXPIRY_RECORDED {
            self.note_end(grant, if expired { EndReason::Expired } else { EndReason::Deleted });
        }
    }

    /// Lists an expired grant, and marks it so that it is not listed again.
    pub(super) fn note_expiry(&mut self, version: Version, ctx: &Context) -> Decided {
        if let Ok(mut target) = self.target(Kind::Mutex, version)? {
            let grant = target.grant_mut();
            let is_new = grant.request_id != RequestId::EXPIRY_RECORDED;
            if is_new && !grant.released && ctx.now.is_past(grant.expires_at) {
                grant.request_id = RequestId::EXPIRY_RECORDED;
                self.note_end(target.grant(), EndReason::Expired);
                self.rewrite_target(&target);
            }
        }
        Ok(Verdict::Reply(Reply::Done))
    }

    /// Notes that a command ended a grant. If it is on record already that the lease has expired, a release ends nothing:
    /// one that changes more than the grant has taken that mark away.
    pub(super) fn note_end_by(&mut self, grant: &Grant, how: EndReason, is_early: bool) {
        if grant.request_id == RequestId::EXPIRY_RECORDED && how == EndReason::Released {
            return;
        }
        self.note_end(grant, how);
        if let Some(ended) = self.effects.ended.as_mut().and_then(|ended| ended.last_mut()) {
            ended.is_early = is_early;
        }
    }

    /// Notes how a grant ended, if ends are listed.
    pub(super) fn note_end(&mut self, grant: &Grant, how: EndReason) {
        if let Some(ended) = &mut self.effects.ended {
            let Grant { owner, version, token, expires_at, .. } = grant;
            ended.push(Ended {
                how,
                owner: owner.clone(),
                version: *version,
                token: *token,
                at: *expires_at,
                is_early: false,
            });
        }
    }
}
