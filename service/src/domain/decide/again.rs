//! Decides again after a lost answer, on a row that another session has written since.
//!
//! The earlier write was sent, and no answer came. It may have been applied and overwritten since, or it may never have
//! been applied; the row does not show which. A command that names a version is decided again: the grant of that version
//! shows the outcome. Any other command is not, because it could undo a newer write that was acknowledged.

use super::{Context, Decided, Ended, KeyChange, Verdict, refuse};
use crate::domain::{
    Command, DataEdit, ForcedRelease, Heartbeat, LeaveReason, NotGrantedReason, Refusal, Release, Reply,
    Timestamp, Version,
};

/// The earlier decision on a command.
#[derive(Debug, Clone, Copy)]
pub struct EarlierDecision<'a> {
    /// The verdict, which was never answered.
    pub verdict: &'a Verdict,
    /// The leases that the earlier write ended by releases, with their ends before the release.
    pub released: &'a [(Version, Timestamp)],
    /// The grants that the earlier write ended and that are not recorded yet; none if the caller has gone. Such a caller
    /// may have repeated its request at another replica, which then has recorded the end.
    pub ended: &'a [Ended],
}

impl KeyChange {
    /// Decides a command whose earlier write has an unknown outcome, on a row that is neither the result of that write
    /// nor the one that it was decided on.
    ///
    /// # Errors
    /// The same as [`KeyChange::decide`].
    pub fn decide_again(
        &mut self,
        command: &Command,
        earlier: EarlierDecision<'_>,
        ctx: &Context,
    ) -> Decided {
        if *earlier.verdict == Verdict::Unknown {
            return Ok(Verdict::Unknown);
        }
        match command {
            Command::PutLock { .. }
            | Command::DeleteLock { .. }
            | Command::PutSemaphore { .. }
            | Command::DeleteSemaphore
            // The active grant may be a later one than the command meant.
            | Command::ForceRelease(ForcedRelease { version: None, .. }) => Ok(Verdict::Unknown),
            Command::Heartbeat(heartbeat) => {
                if self.is_overtaken(heartbeat, ctx)? {
                    Ok(Verdict::Unknown)
                } else {
                    self.decide(command, ctx)
                }
            }
            Command::Release(Release { version, .. })
            | Command::ForceRelease(ForcedRelease { version: Some(version), .. }) => {
                let decided = self.decide(command, ctx)?;
                Ok(self.release_done_before(*version, decided, earlier, ctx))
            }
            Command::Leave { reason: LeaveReason::TimedOut, .. } => {
                let decided = self.decide(command, ctx)?;
                // The earlier write took the waiter out of the queue. The waiter had waited for its whole time and was
                // not granted.
                if decided == refuse(Refusal::PlaceLost) {
                    return Ok(refuse(self.not_granted(NotGrantedReason::TimedOut, None, ctx.now)));
                }
                Ok(decided)
            }
            Command::Acquire(_)
            | Command::Get(_)
            | Command::Leave { .. }
            | Command::GiveBack { .. }
            | Command::Keep { .. }
            | Command::ServeQueue
            | Command::ReapReplica { .. }
            | Command::NoteExpiry { .. }
            | Command::Sweep { .. } => self.decide(command, ctx),
        }
    }

    /// Whether a heartbeat would undo a later one: another request has the grant by now, and the heartbeat gives a
    /// lease or data that differ from the present ones. Renewing the active lease undoes nothing.
    fn is_overtaken(&self, heartbeat: &Heartbeat, ctx: &Context) -> Result<bool, super::Need> {
        let Ok(target) = self.target(heartbeat.kind, heartbeat.version)? else { return Ok(false) };
        let (grant, data) = (target.grant(), target.data());
        if !grant.is_active(ctx.now) || grant.request_id == heartbeat.request_id {
            return Ok(false);
        }
        let keeps_data = match &heartbeat.data {
            DataEdit::Keep => true,
            DataEdit::Set(text) => data == Some(text),
            DataEdit::Delete => data.is_none(),
        };
        Ok(!keeps_data || heartbeat.lease_ms.is_some_and(|lease_ms| lease_ms != grant.lease_ms))
    }

    /// Corrects the refusal of a release whose version is no longer current: its own earlier write may have ended the
    /// grant. This is certain if the lease would still be active, because only those who know a grant's version end its
    /// lease early.
    fn release_done_before(
        &mut self,
        version: Version,
        decided: Verdict,
        earlier: EarlierDecision<'_>,
        ctx: &Context,
    ) -> Verdict {
        let Verdict::Reply(Reply::Released(_)) = earlier.verdict else { return decided };
        if !matches!(decided, Verdict::Reply(Reply::Refused(Refusal::NotFound | Refusal::VersionMismatch))) {
            return decided;
        }
        let ended = earlier.released.iter().find(|(released, _)| *released == version);
        match ended {
            Some(ended) if ctx.now.at_most < ended.1 => {
                // This is needed if this answer is lost, too.
                self.effects.released.push(*ended);
                if let Some(list) = &mut self.effects.ended {
                    list.extend(earlier.ended.iter().find(|ended| ended.version == version).cloned());
                }
                earlier.verdict.clone()
            }
            Some(_) | None => Verdict::Unknown,
        }
    }
}
