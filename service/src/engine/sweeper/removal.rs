//! The steps of a sweep that remove rows: tombstones, and guard rows of keys that are gone.

use std::collections::BTreeMap;

use super::{MOST_PIECES, PAUSE_BETWEEN_PIECES, PIECE, ROWS_A_PIECE, Sweeper, count};
use crate::{
    domain::{KeyId, Tenant, Timestamp, Token},
    store::{StoreError, SweepPlace},
};

/// The maximum number of steps of one sweep that look for guard rows of keys that are gone. There are hardly any.
const MOST_GUARD_PIECES: u32 = 10;

impl Sweeper {
    /// Removes tombstones, and then raises the floors for those that could not be removed: once for all of them, since a
    /// floor that was raised cannot be raised again before it has settled.
    pub(super) async fn sweep_tombstones(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let mut floors = BTreeMap::new();
        let removed = self.remove_tombstones(now, &mut floors).await;
        removed.and(self.shared.store.raise_floors(&floors).await)
    }

    async fn remove_tombstones(
        &mut self,
        now: Timestamp,
        floors: &mut BTreeMap<Tenant, Token>,
    ) -> Result<(), StoreError> {
        let before = now.plus_ms(-self.options.tombstone_retention_ms);
        for _ in 0..MOST_PIECES {
            let (store, from) = (&self.shared.store, self.tombstones_from);
            let page = store.sweep_tombstones(before, self.options.floor_settle_ms, from, PIECE).await?;
            self.tombstones_from = page.next.unwrap_or(SweepPlace::FIRST);
            count("tombstone", page.removed.len() as u64);
            for (tenant, token) in page.floors {
                let floor = floors.entry(tenant).or_insert(token);
                *floor = (*floor).max(token);
            }
            if floors.len() > PIECE as usize {
                store.raise_floors(&std::mem::take(floors)).await?;
            }
            self.remove_guards(&page.removed).await?;
            if page.next.is_none() || self.shared.is_draining() {
                break;
            }
            tokio::time::sleep(PAUSE_BETWEEN_PIECES).await;
        }
        Ok(())
    }

    /// Looks for guard rows that were left when their key's tombstone was removed.
    pub(super) async fn sweep_guards(&mut self) -> Result<(), StoreError> {
        for _ in 0..MOST_GUARD_PIECES {
            let after = self.guards_after.take();
            let page = self.shared.store.orphaned_guards(after.as_ref(), ROWS_A_PIECE).await?;
            self.guards_after = page.next;
            for gone in page.items.chunks(PIECE as usize) {
                self.remove_guards(gone).await?;
            }
            if self.guards_after.is_none() || self.shared.is_draining() {
                break;
            }
            tokio::time::sleep(PAUSE_BETWEEN_PIECES).await;
        }
        Ok(())
    }

    /// Removes the guard rows of keys that are gone. A guarded semaphore may have a thousand.
    async fn remove_guards(&self, gone: &[KeyId]) -> Result<(), StoreError> {
        while self.shared.store.remove_guards(gone, PIECE).await? == u64::from(PIECE)
            && !self.shared.is_draining()
        {
            tokio::time::sleep(PAUSE_BETWEEN_PIECES).await;
        }
        Ok(())
    }
}
