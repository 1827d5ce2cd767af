//! Detects dead replicas and starts to reap them.
//!
//! A member watches the others with each of its heartbeats. A replica without waiters is no member, and there may be no
//! member at all. So heartbeats are also watched when a replica left an offer unclaimed, and with each sweep, until the
//! state of every replica is known.

use std::{collections::BTreeSet, sync::Arc};

use tokio::time::Instant;

use super::{
    super::{Shared, message::Message, tasks::spawn_critical},
    heartbeat_interval, reap_replica,
    watch::{ObservedReplicas, Watch},
};
use crate::store::StoreError;

/// Watches the heartbeats of the others whenever it has to be known which of them are dead. Never returns.
pub(in super::super) async fn reap_when_wanted(shared: Arc<Shared>) {
    loop {
        shared.membership.reaping_wanted.notified().await;
        watch_until_settled(&shared).await;
    }
}

/// Watches until each of the other replicas has sent a heartbeat or is reaped, and no replica is suspect.
async fn watch_until_settled(shared: &Arc<Shared>) {
    let mut watch = Watch::default();
    let mut beating = BTreeSet::new();
    let mut ticks = heartbeat_interval();
    loop {
        ticks.tick().await;
        match observe_heartbeats(shared, &mut watch, &mut beating).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => shared.report_outage(&error),
        }
    }
}

/// Reads the heartbeats once. Returns whether the state of every replica is known.
async fn observe_heartbeats(
    shared: &Arc<Shared>,
    watch: &mut Watch,
    beating: &mut BTreeSet<crate::domain::ReplicaId>,
) -> Result<bool, StoreError> {
    let peers = shared.store.peers().await?;
    let me = shared.membership.me();
    let observed = watch.note(me, &peers, Instant::now());
    beating.extend(observed.alive.iter().copied());
    act_on(shared, observed);
    for suspect in shared.membership.suspects().replicas() {
        if peers.iter().all(|peer| peer.replica != suspect) {
            // A suspect without a row was reaped before, or it left too early.
            shared.membership.dead.insert(suspect);
            shared.membership.clear_suspicion(suspect);
            spawn_critical(reap_replica(shared.clone(), suspect, None));
        }
    }
    let is_known = |replica| Some(replica) == me || beating.contains(&replica);
    Ok(peers.iter().all(|peer| is_known(peer.replica)) && shared.membership.suspects().is_empty())
}

/// Acts on the observed heartbeats of the other replicas.
pub(super) fn act_on(shared: &Arc<Shared>, observed: ObservedReplicas) {
    for replica in observed.alive {
        shared.membership.clear_suspicion(replica);
        if shared.membership.dead.remove(replica) {
            tracing::warn!(%replica, "a replica that was declared dead sends heartbeats again");
        }
    }
    for (replica, counter) in observed.dead {
        shared.membership.clear_suspicion(replica);
        if shared.membership.dead.insert(replica) {
            tracing::warn!(%replica, "a replica sends no heartbeats; its waiters leave their queues");
            shared.metrics.replica_reaped();
            shared.broadcast(|| Message::ServeAllQueues);
        }
        // This repeats each time the replica is found dead, since reaping may end before its row is gone. Only one task
        // reaps a replica at a time.
        spawn_critical(reap_replica(shared.clone(), replica, Some(counter)));
    }
}
