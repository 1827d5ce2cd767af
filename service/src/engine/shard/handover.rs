//! The start of hand-overs, for their metric: when a lock or permit that a waiter of this replica is granted became
//! free.

use tokio::time::Instant;

use super::Shard;
use crate::{
    domain::{Command, Effects, RequestId},
    engine::pending_request::PendingRequest,
};

impl Shard {
    /// The served waiters, each with the time at which its lock or permit became free, by the monotonic clock.
    pub(super) fn freed_instants(
        &self,
        requests: &[PendingRequest],
        effects: &Effects,
    ) -> Vec<(RequestId, Instant)> {
        if effects.freed.is_empty() {
            return Vec::new();
        }
        // The arrival of a release in the same decision is known. Several releases free as many permits, in the same
        // order.
        let mut releases =
            requests.iter().filter(|request| ends_grant(&request.command)).map(|it| it.arrived);
        let mut last = None;
        let freed = effects.freed.iter().filter_map(|(request_id, freed)| {
            let release = if freed.by_release { releases.next().or(last) } else { None };
            last = release.or(last);
            // Other replicas' releases and expiries are known by the database's clock only.
            let at = release.or_else(|| self.shared.clock.estimate_instant(freed.at, freed.by_release))?;
            Some((*request_id, at))
        });
        freed.collect()
    }
}

/// Whether a command ends a grant, so that the lock or permit can be handed over.
const fn ends_grant(command: &Command) -> bool {
    matches!(command, Command::Release(_) | Command::ForceRelease(_) | Command::GiveBack { .. })
}
