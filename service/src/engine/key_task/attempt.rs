//! Writes whose outcome is unknown.

use crate::{
    domain::{
        Body, Effects, EndReason, Grant, KeyState, LockView, Reply, RowVersion, Token, Verdict, Version,
    },
    store::Write,
};

/// A write whose outcome is unknown: the statement was sent and no answer came.
#[derive(Debug, Clone)]
pub(in super::super) struct Attempt {
    /// The row version that the write was decided on. While the row has this version, the write was not applied.
    pub(in super::super) prev: Option<RowVersion>,
    /// The row version that the row gets if the write is applied.
    pub(in super::super) row_version: RowVersion,
    /// The token that the row gets then, unless the store raised it.
    pub(in super::super) token: Token,
    /// One verdict for each decided request. Later requests were not decided by this write.
    pub(in super::super) verdicts: Vec<Verdict>,
    /// The effects that follow once the write is known to be applied.
    pub(in super::super) effects: Effects,
}

/// What an earlier write did, and the amount by which the store raised its tokens.
#[derive(Debug)]
pub(in super::super) struct Overwritten {
    pub(in super::super) verdicts: Vec<Verdict>,
    pub(in super::super) effects: Effects,
    pub(in super::super) raised: i64,
}

impl Attempt {
    /// Creates an attempt from a write that was sent with these verdicts.
    pub(in super::super) fn of(write: Write, verdicts: Vec<Verdict>) -> Self {
        let Write { prev, row_version, change } = write;
        Self { prev, row_version, token: change.state.token, verdicts, effects: change.effects }
    }

    /// If a state shows that this write was applied, although the row was written since: the amount by which the store
    /// raised its tokens. The state has a grant that this write made, or one as this write ended it. Nothing is shown if
    /// grants and ends are not listed.
    pub(in super::super) fn applied_before(&self, state: &KeyState) -> Option<i64> {
        if state.row_version == self.prev {
            return None;
        }
        let raised = |grant: &Grant| self.made(grant).map(|view| grant.token.0 - view.fencing_token.0);
        let found = grants(state).find_map(raised);
        found.or_else(|| grants(state).any(|grant| self.has_ended(grant)).then_some(0))
    }

    /// The view of a grant, if this write made it. Another replica can have granted the same version at another time.
    fn made(&self, grant: &Grant) -> Option<&LockView> {
        let is_new = self.effects.granted.iter().flatten().any(|version| *version == grant.version);
        let is_it = |view: &&LockView| {
            let held = view.held.as_ref();
            held.is_some_and(|held| held.version == grant.version && held.acquired_at == grant.acquired_at)
        };
        if is_new { self.granted_views().find(is_it) } else { None }
    }

    fn granted_views(&self) -> impl Iterator<Item = &LockView> {
        let of_requests = self.verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Reply(reply) => Some(reply),
            Verdict::Waiting { .. } | Verdict::GuardOpen(_) | Verdict::Unknown => None,
        });
        let replies = of_requests.chain(self.effects.answered.iter().map(|(_, reply)| reply));
        replies.filter_map(|reply| if let Reply::Granted(view) = reply { Some(view) } else { None })
    }

    /// Whether a grant ended at the time at which this write ended it, before its lease did. Leases expire by themselves, and
    /// any release of an expired grant leaves the same end.
    fn has_ended(&self, grant: &Grant) -> bool {
        let mut ended = self.effects.ended.iter().flatten();
        grant.released
            && ended.any(|ended| {
                ended.how != EndReason::Expired
                    && ended.is_early
                    && ended.version == grant.version
                    && ended.at == grant.expires_at
            })
    }

    /// A version that the state has to show to be sure that this write was applied.
    pub(super) fn evidence(&self) -> Option<Version> {
        self.effects.granted.as_ref()?.first().copied()
    }
}

/// The grants of a state, as far as they were loaded.
fn grants(state: &KeyState) -> impl Iterator<Item = &Grant> {
    let (of_mutex, permits) = match &state.body {
        Body::Mutex(mutex) => (mutex.grant.as_ref(), &[][..]),
        Body::Semaphore(semaphore) => (None, semaphore.permits.known.as_slice()),
        Body::Absent => (None, &[][..]),
    };
    of_mutex.into_iter().chain(permits.iter().map(|permit| &permit.grant))
}
