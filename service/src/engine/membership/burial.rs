//! Burying the dead: their waiters leave all queues, and then their rows go.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{super::Shared, Membership};
use crate::domain::{Command, ReplicaId};

/// Keys of a dead replica's waiters that are looked at in one go.
const BURIED_AT_ONCE: u32 = 500;

impl Membership {
    /// Begins to bury a replica, unless somebody is at it.
    fn begin_burial(&self, replica: ReplicaId) -> Option<Burial<'_>> {
        let begun = self.being_buried.lock().unwrap_or_else(PoisonError::into_inner).insert(replica);
        begun.then(|| Burial { of: self, replica })
    }
}

/// The one burial of a replica, until it is dropped.
struct Burial<'m> {
    of: &'m Membership,
    replica: ReplicaId,
}

impl Drop for Burial<'_> {
    fn drop(&mut self) {
        self.of.being_buried.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.replica);
    }
}

/// Replicas that have waiters and no row died while they were being buried, or parted too early.
pub(super) async fn find_unknown(shared: &Arc<Shared>) {
    match shared.store.unknown_replicas().await {
        Ok(replicas) => {
            for replica in replicas {
                shared.membership.add_dead(replica);
                tokio::spawn(bury(shared.clone(), replica, None));
            }
        }
        Err(error) => shared.report_outage(&error),
    }
}

/// Takes a dead replica's waiters out of all queues, a bounded piece at a time, then its row. With the counter at which its
/// `beat` stopped it ends when the replica beats again.
pub(in super::super) async fn bury(shared: Arc<Shared>, replica: ReplicaId, beat: Option<i64>) {
    const PIECE: Duration = Duration::from_millis(100);
    const MOST_PIECES: usize = 3_000;
    let Some(_burial) = shared.membership.begin_burial(replica) else { return };
    for _ in 0..MOST_PIECES {
        if beat.is_some() && !shared.membership.dead().contains(&replica) {
            return;
        }
        match shared.store.keys_waited_for(replica, BURIED_AT_ONCE).await {
            Ok(ids) if ids.is_empty() => {
                if let Err(error) = shared.store.part(replica, beat).await {
                    shared.report_outage(&error);
                }
                return;
            }
            Ok(ids) => {
                for id in ids {
                    shared.command(id, Command::Bury { replica });
                }
            }
            Err(error) => shared.report_outage(&error),
        }
        tokio::time::sleep(PIECE).await;
    }
}
