//! When the lock or permit became free that a waiter of this replica is granted, for the metric of hand-overs.

use tokio::time::Instant;

use super::Shard;
use crate::{
    domain::{Command, Effects, RequestId},
    engine::pending_request::PendingRequest,
};

impl Shard {
    /// For each waiter that was served: when what it was granted became free, by the monotonic clock.
    pub(super) fn freed_instants(
        &self,
        requests: &[PendingRequest],
        effects: &Effects,
    ) -> Vec<(RequestId, Instant)> {
        if effects.freed.is_empty() {
            return Vec::new();
        }
        // A release in the same decision arrived at a known instant. Several releases free as many permits, in their order.
        let mut releases =
            requests.iter().filter(|request| ends_grant(&request.command)).map(|it| it.arrived);
        let mut last = None;
        let freed = effects.freed.iter().filter_map(|(request_id, freed)| {
            let release = if freed.by_release { releases.next().or(last) } else { None };
            last = release.or(last);
            // Releases by other replicas and expiries are known by the database's clock only.
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
