//! What lives longer than a statement: transactions with row locks, and connections on which hints come.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use super::{
    Database,
    tables::{KeyRows, RowLock},
};
use crate::{
    domain::{KeyId, ReplicaId},
    store::{Hints, StoreError, Want},
};

/// How long the database lets a transaction idle.
const IDLE_TRANSACTION: Duration = Duration::from_secs(3);

/// A transaction with row locks, until it ends or is broken off.
pub(super) struct Transaction<'d> {
    database: &'d Database,
    owner: u64,
}

impl<'d> Transaction<'d> {
    /// Locks rows, and reads them.
    pub(super) fn begin(database: &'d Database, wants: &[Want]) -> (Self, Vec<KeyRows>) {
        let mut tables = database.tables();
        let lock = RowLock { owner: tables.new_lock(), until: Instant::now() + IDLE_TRANSACTION };
        for want in wants {
            tables.locks.insert(want.id.clone(), lock);
        }
        let rows = wants.iter().map(|want| tables.keys.get(&want.id).cloned().unwrap_or_default());
        let rows = rows.collect();
        (Self { database, owner: lock.owner }, rows)
    }

    /// Whether it still has its locks, and was not ended for idling.
    pub(super) fn stands(&self, wants: &[Want]) -> bool {
        let tables = self.database.tables();
        wants.iter().all(|want| {
            tables
                .locks
                .get(&want.id)
                .is_some_and(|lock| lock.owner == self.owner && lock.until > Instant::now())
        })
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        self.database.tables().unlock(self.owner);
        self.database.changed.notify_waiters();
    }
}

/// Hints for one member.
pub(super) struct HintStream {
    pub(super) database: Arc<Database>,
    pub(super) me: ReplicaId,
}

#[async_trait]
impl Hints for HintStream {
    async fn next(&mut self) -> Result<Option<KeyId>, StoreError> {
        loop {
            let changed = self.database.changed.notified();
            let front = self.database.tables().hints.entry(self.me).or_default().front().cloned();
            match front {
                Some((arrives, id)) => {
                    sleep_until(arrives).await;
                    self.database.tables().hints.entry(self.me).or_default().pop_front();
                    if self.database.chance(self.database.plan.lost_hints / 4.0) {
                        return Ok(None);
                    }
                    return Ok(Some(id));
                }
                None => changed.await,
            }
        }
    }
}
