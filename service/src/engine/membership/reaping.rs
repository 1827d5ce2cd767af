//! Reaping dead replicas: their waiters leave all queues, and then their rows are removed.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{
    super::{Shared, tasks::spawn_critical},
    Membership,
};
use crate::domain::{Command, ReplicaId};

/// The maximum number of keys that the waiters of a dead replica leave in one piece.
const KEYS_PER_PIECE: u32 = 500;

impl Membership {
    /// Begins to reap a replica; `None` while it is being reaped already.
    fn begin_reaping(&self, replica: ReplicaId) -> Option<Reaping<'_>> {
        let begun = self.being_reaped.lock().unwrap_or_else(PoisonError::into_inner).insert(replica);
        begun.then(|| Reaping { of: self, replica })
    }
}

/// The one reaping of a replica, until it is dropped.
struct Reaping<'m> {
    of: &'m Membership,
    replica: ReplicaId,
}

impl Drop for Reaping<'_> {
    fn drop(&mut self) {
        self.of.being_reaped.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.replica);
    }
}

/// Replicas that have waiters and no row died while they were being reaped, or parted too early.
pub(super) async fn find_unknown(shared: &Arc<Shared>) {
    match shared.store.unknown_replicas().await {
        Ok(replicas) => {
            for replica in replicas {
                shared.membership.add_dead(replica);
                spawn_critical(reap_replica(shared.clone(), replica, None));
            }
        }
        Err(error) => shared.report_outage(&error),
    }
}

/// Takes a dead replica's waiters out of all queues, a bounded piece at a time, then its row. With the counter at which its
/// `beat` stopped it ends when the replica beats again.
pub(in super::super) async fn reap_replica(shared: Arc<Shared>, replica: ReplicaId, beat: Option<i64>) {
    const MOST_OF_A_PIECE: Duration = Duration::from_secs(1);
    const PAUSE: Duration = Duration::from_millis(20);
    const MOST_PIECES: usize = 3_000;
    let Some(_reaping) = shared.membership.begin_reaping(replica) else { return };
    for _ in 0..MOST_PIECES {
        if beat.is_some() && !shared.membership.dead().contains(&replica) {
            return;
        }
        match shared.store.keys_waited_for(replica, KEYS_PER_PIECE).await {
            Ok(ids) if ids.is_empty() => {
                if let Err(error) = shared.store.part(replica, beat).await {
                    shared.report_outage(&error);
                }
                return;
            }
            Ok(ids) => {
                // What was not carried out in time is found again; a key that is busy for long does not hold up the others.
                let command = Command::ReapReplica { replica };
                let _ = tokio::time::timeout(MOST_OF_A_PIECE, shared.execute_all(ids, &command)).await;
            }
            Err(error) => shared.report_outage(&error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
