//! Searches the slots of a semaphore for active permits, as [`super::search`] searches keys: no index has those that a list
//! shows in the order of their slots.

use db_locks_entity::permits;
use sea_orm::{ColumnTrait, DbErr, QueryFilter, QuerySelect, Select};

use super::{
    queries::{is_out, slots_of},
    search::WINDOW,
    views::permit_of,
};
use crate::{
    domain::{KeyId, Timestamp},
    store::sql_store::SqlStore,
};

/// A search, from slot to slot.
pub(super) struct PermitSearch<'s> {
    store: &'s SqlStore,
    id: &'s KeyId,
    now: Timestamp,
    /// The next slot; `None` if all were searched.
    next: Option<i32>,
    /// Whether few of the permits are active.
    are_rare: bool,
}

impl<'s> PermitSearch<'s> {
    /// A search that begins after a slot.
    pub(super) fn new(store: &'s SqlStore, id: &'s KeyId, now: Timestamp, after: Option<i32>) -> Self {
        Self { store, id, now, next: slot_after(after.unwrap_or(-1)), are_rare: false }
    }

    /// Whether all slots were searched.
    pub(super) const fn is_over(&self) -> bool {
        self.next.is_none()
    }

    /// The slot up to which all slots were searched.
    pub(super) fn position(&self) -> Option<i32> {
        self.next.map(|next| next - 1)
    }

    /// Searches further slots, and returns at most this number of permits, in the order of their slots.
    pub(super) async fn next(&mut self, wanted: u64) -> Result<Vec<permits::Model>, DbErr> {
        let Some(from) = self.next else { return Ok(Vec::new()) };
        let slots = slots_of(self.id, from);
        if !self.are_rare {
            let mut rows = self.read(slots.limit(wanted)).await?;
            let came = rows.len();
            let is_last = (came as u64) < wanted;
            self.next = rows.last().filter(|_| !is_last).and_then(|row| slot_after(row.slot));
            rows.retain(|row| permit_of(row).grant.is_active_at(self.now));
            self.are_rare = rows.len() < came / 2;
            return Ok(rows);
        }
        let end = from.saturating_add(i32::try_from(WINDOW).unwrap_or(i32::MAX));
        let out = slots.filter(permits::Column::Slot.lt(end)).filter(is_out(self.now.0));
        let rows = self.read(out.limit(wanted)).await?;
        self.next = match rows.last() {
            Some(last) if rows.len() as u64 == wanted => slot_after(last.slot),
            _ => self.read(slots_of(self.id, end).limit(1)).await?.first().map(|row| row.slot),
        };
        Ok(rows)
    }

    async fn read(&self, query: Select<permits::Entity>) -> Result<Vec<permits::Model>, DbErr> {
        self.store.list.round_trips.increment(1);
        query.all(self.store.general_pool()).await
    }
}

const fn slot_after(slot: i32) -> Option<i32> {
    slot.checked_add(1)
}
