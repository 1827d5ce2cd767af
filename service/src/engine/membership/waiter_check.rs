//! Compares the waiters of this replica with their rows.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    super::{
        Shared,
        message::{Message, WaiterCheck},
    },
    heartbeat_interval,
    reaping::find_unknown,
};
use crate::{SeededMap, domain::ReplicaId};

/// Checks while there are waiters, and now and then looks for waiters of replicas that are not registered.
pub(super) async fn keep_checking_waiters(shared: Arc<Shared>, me: ReplicaId) {
    // Periods in heartbeats. A waiter without a row is rare, and until a check finds it, it only waits longer than it should.
    const CHECK_EVERY: u64 = 2;
    const UNKNOWN_EVERY: u64 = 10;
    let mut beats = 0_u64;
    let mut ticks = heartbeat_interval();
    loop {
        ticks.tick().await;
        if shared.waiting.count() == 0 {
            continue;
        }
        if beats.is_multiple_of(CHECK_EVERY) {
            check(&shared, me).await;
        }
        if beats.is_multiple_of(UNKNOWN_EVERY) {
            find_unknown(&shared).await;
        }
        beats += 1;
    }
}

/// Compares the number of waiters with the number of rows and, if they differ, the waiters themselves.
async fn check(shared: &Arc<Shared>, me: ReplicaId) {
    let asked = Instant::now();
    let result = async {
        let rows = shared.store.count_waiting(me).await?;
        if usize::try_from(rows).is_ok_and(|rows| rows == shared.waiting.count()) {
            return Ok(());
        }
        let mut found: Vec<SeededMap<_, _>> = vec![SeededMap::default(); shared.shard_count()];
        for row in shared.store.waiting(me).await? {
            found[shared.shard_of(&row.id)].insert(row.request_id, row);
        }
        for (shard, found) in found.into_iter().enumerate() {
            shared.send_to(shard, Message::WaiterCheck(Box::new(WaiterCheck { found, asked })));
        }
        Ok(())
    };
    if let Err(error) = result.await {
        shared.report_outage(&error);
    }
}
