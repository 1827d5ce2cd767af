//! How grants end, for those who count and log it.

use super::{Context, Decided, KeyChange, Verdict};
use crate::domain::{Grant, Kind, Owner, Reply, RequestId, Timestamp, Token, Version};

/// A grant that a change ended, or found ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub how: EndedHow,
    /// Who held it.
    pub owner: Owner,
    /// Its identity.
    pub version: Version,
    /// Its fencing token.
    pub token: Token,
}

/// How a grant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedHow {
    /// Its holder released it.
    Released,
    /// An operator ended it by force.
    Forced,
    /// Its answer reached nobody, so it was given back.
    GivenBack,
    /// Its lease ended, and nobody had released it. Found by what took its place: the next grant, or a deletion.
    Expired,
    /// Its lock was deleted while it was held.
    Deleted,
}

impl KeyChange {
    /// Takes note of a grant that makes room for another, or whose lock is deleted at `now`.
    pub(super) fn note_replaced(&mut self, grant: &Grant, now: Timestamp) {
        if grant.released {
            return;
        }
        let expired = grant.expires_at <= now;
        self.effects.expired += u64::from(expired);
        if grant.request_id != RequestId::EXPIRY_RECORDED {
            self.note_end(grant, if expired { EndedHow::Expired } else { EndedHow::Deleted });
        }
    }

    /// Lists a grant whose lease has ended, and marks it, so that it is not listed again.
    pub(super) fn note_expiry(&mut self, version: Version, ctx: &Context) -> Decided {
        if let Ok(target) = self.target(Kind::Mutex, version)? {
            let (grant, _) = self.grant_and_data(&target);
            let is_new = grant.request_id != RequestId::EXPIRY_RECORDED;
            if is_new && !grant.released && ctx.now.is_past(grant.expires_at) {
                grant.request_id = RequestId::EXPIRY_RECORDED;
                let grant = grant.clone();
                self.note_end(&grant, EndedHow::Expired);
                self.rewrite_target(&target);
            }
        }
        Ok(Verdict::Reply(Reply::Done))
    }

    /// Takes note of how a grant ended, if somebody wants to know.
    pub(super) fn note_end(&mut self, grant: &Grant, how: EndedHow) {
        if let Some(ended) = &mut self.effects.ended {
            let Grant { owner, version, token, .. } = grant;
            ended.push(Ended { how, owner: owner.clone(), version: *version, token: *token });
        }
    }
}
