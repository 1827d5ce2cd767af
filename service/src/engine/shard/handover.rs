//! Measuring hand-overs: when the place was free that a waiter of this replica is granted.

use tokio::time::Instant;

use super::{super::pending_request::PendingRequest, Shard};
use crate::domain::{Command, Effects, RequestId};

impl Shard {
    /// For each waiter that was served: since when, by the monotonic clock, what it was granted had been free.
    pub(super) fn freed_instants(
        &self,
        requests: &[PendingRequest],
        effects: &Effects,
    ) -> Vec<(RequestId, Instant)> {
        if effects.freed.is_empty() {
            return Vec::new();
        }
        // A release in the same decision is what freed the place, and came in at a known instant. Several free as many
        // places, in their order.
        let mut releases = requests.iter().filter(|request| frees(&request.command)).map(|it| it.arrived);
        let mut last = None;
        let freed = effects.freed.iter().filter_map(|(request_id, freed)| {
            let release = if freed.by_release { releases.next().or(last) } else { None };
            last = release.or(last);
            // What another replica released, or what expired, is known by the database's clock only.
            let at = release.or_else(|| self.shared.clock.estimate_instant(freed.at, freed.by_release))?;
            Some((*request_id, at))
        });
        freed.collect()
    }
}

/// Whether a command ends a grant, so that what it held can be handed over.
const fn frees(command: &Command) -> bool {
    matches!(command, Command::Release(_) | Command::GiveBack { .. })
}
