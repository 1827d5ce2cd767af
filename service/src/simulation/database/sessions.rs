//! Things that live longer than a statement: transactions with row locks, and connections with notifications.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use super::{Database, key_rows::KeyRows, tables::RowLock};
use crate::{
    domain::{KeyId, ReplicaId},
    store::{LoadRequest, Notifications, StoreError},
};

/// The longest time for which a transaction may be idle.
const IDLE_TRANSACTION: Duration = Duration::from_secs(3);

/// A transaction with row locks, until it ends or is broken off.
pub(super) struct Transaction<'d> {
    database: &'d Database,
    owner: u64,
}

impl<'d> Transaction<'d> {
    /// Locks rows, and reads them.
    pub(super) fn begin(database: &'d Database, load_requests: &[LoadRequest]) -> (Self, Vec<KeyRows>) {
        let mut tables = database.tables();
        let lock = RowLock { owner: tables.new_lock(), until: Instant::now() + IDLE_TRANSACTION };
        for load_request in load_requests {
            tables.locks.insert(load_request.id.clone(), lock);
        }
        let rows = load_requests
            .iter()
            .map(|load_request| tables.keys.get(&load_request.id).cloned().unwrap_or_default());
        let rows = rows.collect();
        (Self { database, owner: lock.owner }, rows)
    }

    /// Whether the transaction still has its locks, and was not ended because it was idle.
    pub(super) fn is_active(&self, load_requests: &[LoadRequest]) -> bool {
        let tables = self.database.tables();
        load_requests.iter().all(|load_request| {
            tables
                .locks
                .get(&load_request.id)
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

/// Notifications for one member.
pub(super) struct NotificationStream {
    pub(super) database: Arc<Database>,
    pub(super) me: ReplicaId,
    pub(super) server: u64,
}

#[async_trait]
impl Notifications for NotificationStream {
    async fn next(&mut self) -> Result<Option<KeyId>, StoreError> {
        loop {
            let changed = self.database.changed.notified();
            self.database.is_there(self.server)?;
            let front = self.database.tables().notifications.entry(self.me).or_default().front().cloned();
            match front {
                Some((arrives, id)) => {
                    sleep_until(arrives).await;
                    self.database.tables().notifications.entry(self.me).or_default().pop_front();
                    if self.database.happens(self.database.plan.lost_notifications / 4.0) {
                        return Ok(None);
                    }
                    return Ok(Some(id));
                }
                None => changed.await,
            }
        }
    }
}
