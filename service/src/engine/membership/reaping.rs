//! Reaps dead replicas: removes their waiters from all queues, then their rows.

use std::{sync::Arc, time::Duration};

use super::{
    super::{Shared, tasks::spawn_critical},
    Membership,
};
use crate::domain::{Command, ReplicaId};

/// The maximum number of keys from which a dead replica's waiters are removed at once.
const KEYS_PER_PIECE: u32 = 500;

impl Membership {
    /// Begins to reap a replica; `None` if it is being reaped already.
    fn begin_reaping(&self, replica: ReplicaId) -> Option<Reaping<'_>> {
        self.being_reaped.insert(replica).then(|| Reaping { of: self, replica })
    }
}

/// Marks a replica as being reaped, until this value is dropped.
struct Reaping<'m> {
    of: &'m Membership,
    replica: ReplicaId,
}

impl Drop for Reaping<'_> {
    fn drop(&mut self) {
        self.of.being_reaped.remove(self.replica);
    }
}

/// Reaps replicas that have waiters and no row. Such a waiter was added after its replica was reaped or had left.
pub(super) async fn find_unknown(shared: &Arc<Shared>) {
    match shared.store.unknown_replicas().await {
        Ok(replicas) => {
            for replica in replicas {
                shared.membership.dead.insert(replica);
                spawn_critical(reap_replica(shared.clone(), replica, None));
            }
        }
        Err(error) => shared.report_outage(&error),
    }
}

/// Removes a dead replica's waiters from all queues, a bounded number at a time, then its row. `beat` is the counter at
/// which its heartbeats stopped. If it is given, reaping stops when the replica sends heartbeats again.
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
                if let Err(error) = shared.store.leave(replica, beat).await {
                    shared.report_outage(&error);
                }
                return;
            }
            Ok(ids) => {
                // Keys that are not done in time are found again, so a key that is busy for long does not delay the
                // others.
                let command = Command::ReapReplica { replica };
                let _ = tokio::time::timeout(MOST_OF_A_PIECE, shared.execute_all(ids, &command)).await;
            }
            Err(error) => shared.report_outage(&error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
