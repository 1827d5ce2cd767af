//! Refusals: the reason of each was true at some moment between the request and the answer.

use super::{
    Checker, KeyChecks, Request,
    seen::{Seen, check},
};
use crate::{
    AcquireRequest,
    domain::{NotGranted, NotGrantedReason, Refusal, Release, Version},
    simulation::request::Ask,
};

impl Checker {
    pub(super) fn check_refusal(
        &self,
        key: &KeyChecks,
        asked: &Request,
        seen: &[Seen<'_>],
        refusal: &Refusal,
    ) -> Result<(), String> {
        match (refusal, &asked.ask) {
            (
                Refusal::NotGranted(NotGranted { reason: NotGrantedReason::GuardedTransaction, .. })
                | Refusal::GuardedTransactionOpen { .. },
                _,
            ) => Self::check_guard_open(key, asked, seen),
            (Refusal::NotGranted(_), _) => check(
                seen,
                |seen| seen.is_full() || seen.somebody_waits(),
                "it was free all the time, and nobody waited",
            ),
            (Refusal::NotFound, _) => check(seen, |seen| seen.kind().is_none(), "it was there all the time"),
            (Refusal::WrongKind, _) => {
                let wrong = |seen: &Seen<'_>| seen.kind().is_some() || seen.somebody_waits();
                check(seen, wrong, "it was of no kind")
            }
            (Refusal::InUse(_), _) => {
                let used = |seen: &Seen<'_>| seen.held() > 0 || seen.somebody_waits();
                check(seen, used, "nobody held it")
            }
            (Refusal::LeaseExpired, Ask::Heartbeat { version, .. }) => {
                // Rows that were read before a write are checked by the clock of the answer.
                let latest = seen.iter().map(|seen| seen.most).max().unwrap_or(i64::MIN);
                let expired =
                    |seen: &Seen<'_>| seen.grant(*version).is_some_and(|grant| grant.expires_at.0 <= latest);
                check(seen, expired, "the lease had not ended")
            }
            (Refusal::VersionMismatch, Ask::Heartbeat { version, .. }) => {
                let gone = |seen: &Seen<'_>| seen.grant(*version).is_none_or(|grant| grant.released);
                check(seen, gone, "the grant was there all the time")
            }
            (
                Refusal::VersionMismatch,
                Ask::Release(Release { version, .. }) | Ask::Force { version, .. },
            ) => {
                let gone = |seen: &Seen<'_>| seen.grant(*version).is_none();
                check(seen, gone, "the grant was there all the time")
            }
            (Refusal::Revoked(_), Ask::Heartbeat { version, .. } | Ask::Release(Release { version, .. })) => {
                self.check_revoked(*version, seen)
            }
            (Refusal::VersionMismatch, Ask::DeleteLock(Some(version))) => {
                let other = |seen: &Seen<'_>| {
                    seen.held() > 0
                        && seen.grant(*version).is_none_or(|grant| grant.expires_at.0 <= seen.most)
                };
                check(seen, other, "nobody else held it")
            }
            (Refusal::VersionMismatch, Ask::Acquire(acquire)) => {
                let known = |version| key.grants.contains_key(&version) || key.chosen.contains_key(&version);
                let known = acquire.version.is_none_or(known);
                if known { Ok(()) } else { Err("nobody had that version before".to_owned()) }
            }
            (Refusal::Superseded, Ask::Acquire(acquire)) => self.check_superseded(key, asked, acquire),
            _ => Err("no such refusal fits what was asked".to_owned()),
        }
    }

    /// Checks that the grant of this version was ended by force.
    fn check_revoked(&self, version: Version, seen: &[Seen<'_>]) -> Result<(), String> {
        let forced =
            |request: &Request| matches!(request.ask, Ask::Force { version: ended, .. } if ended == version);
        if !self.requests.values().any(forced) {
            return Err("nobody ended it by force".to_owned());
        }
        let gone = |seen: &Seen<'_>| seen.grant(version).is_none_or(|grant| grant.released);
        check(seen, gone, "the grant stood all the time")
    }

    /// Checks that another request took the place of this acquire, or that its grant was over before its answer.
    fn check_superseded(
        &self,
        key: &KeyChecks,
        asked: &Request,
        acquire: &AcquireRequest,
    ) -> Result<(), String> {
        // The request that arrives first at the service need not be the one that was sent first.
        let mut overlapping = self.requests.iter().filter(|(number, other)| {
            **number != asked.number() && other.answered.is_none_or(|answered| answered > asked.asked)
        });
        let took_place = overlapping.any(|(_, other)| {
            let Ask::Acquire(again) = &other.ask else { return false };
            let repeated = again.version.is_some() && again.version == acquire.version;
            // Or the grant was never answered, and a reentrant request of the same owner ended it.
            let reentered = again.reentrant && again.owner == acquire.owner;
            repeated || reentered
        });
        // Or the grant began and ended before it could be answered, and the reason is not known any more.
        let went = acquire.version.and_then(|version| key.grants.get(&version));
        let went = went.is_some_and(|facts| !facts.is_active() && !facts.db_time);
        if took_place || went { Ok(()) } else { Err("nobody asked again".to_owned()) }
    }
}
