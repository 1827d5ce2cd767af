//! The search for grants that have expired, for the audit log.
//!
//! No index has such grants, so all rows of two tables are read: a bounded number at a time, and each row once.

use db_locks_entity::{locks, permits};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, ExprTrait, QueryOrder, QueryResult, QuerySelect};

use super::{Page, after::after_key, rows::read_id, sql_store::SqlStore};
use crate::domain::{KeyId, RequestId, Timestamp, Version};

/// A position in the search: all locks come before all permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantPosition {
    /// After the lock of this key.
    Lock(KeyId),
    /// After the permit in a slot; `None` before all permits.
    Permit(Option<(KeyId, i32)>),
}

/// Expired grants, and the position after them.
pub(super) type ExpiredGrants = Page<(KeyId, Version), GrantPosition>;

impl SqlStore {
    /// Those of the next `limit` locks or permits whose grant expired at `before` or earlier and is not recorded.
    pub(super) async fn expired_after(
        &self,
        before: Timestamp,
        after: Option<&GrantPosition>,
        limit: u32,
    ) -> Result<ExpiredGrants, DbErr> {
        match after {
            None => self.expired_locks(before, None, limit).await,
            Some(GrantPosition::Lock(after)) => self.expired_locks(before, Some(after), limit).await,
            Some(GrantPosition::Permit(after)) => self.expired_permits(before, after.as_ref(), limit).await,
        }
    }

    async fn expired_locks(
        &self,
        before: Timestamp,
        after: Option<&KeyId>,
        limit: u32,
    ) -> Result<ExpiredGrants, DbErr> {
        use locks::Column::{ExpiresAtMs, Key, Nonce, Released, Tenant, Version};
        let is_expired = Version.is_not_null().and(ExpiresAtMs.lte(before.0)).and(Released.eq(false));
        let query = locks::Entity::find()
            .select_only()
            .columns([Tenant, Key, Version])
            .expr(is_expired.and(Nonce.ne(RequestId::EXPIRY_RECORDED.0)))
            .order_by_asc(Tenant)
            .order_by_asc(Key);
        let rows = self.select_after("expired_locks", &query, after_key(Tenant, Key, after), limit).await?;
        let last = rows.last().filter(|_| rows.len() == limit as usize).map(read_id).transpose()?;
        let next = last.map_or(GrantPosition::Permit(None), GrantPosition::Lock);
        Ok(Page { items: expired_of(&rows)?, next: Some(next) })
    }

    async fn expired_permits(
        &self,
        before: Timestamp,
        after: Option<&(KeyId, i32)>,
        limit: u32,
    ) -> Result<ExpiredGrants, DbErr> {
        use permits::Column::{ExpiresAtMs, Key, Nonce, Released, Slot, Tenant, Version};
        let is_expired = ExpiresAtMs.lte(before.0).and(Released.eq(false));
        let query = permits::Entity::find()
            .select_only()
            .columns([Tenant, Key, Version])
            .expr(is_expired.and(Nonce.ne(RequestId::EXPIRY_RECORDED.0)))
            .column(Slot)
            .order_by_asc(Tenant)
            .order_by_asc(Key)
            .order_by_asc(Slot);
        let mut ranges = after_key(Tenant, Key, after.map(|(id, _)| id));
        if let Some((id, slot)) = after {
            let of_key = Tenant.eq(id.tenant.as_str()).and(Key.eq(id.key.as_str())).and(Slot.gt(*slot));
            ranges.insert(0, of_key.into());
        }
        let rows = self.select_after("expired_permits", &query, ranges, limit).await?;
        let position = |row: &QueryResult| Ok::<_, DbErr>((read_id(row)?, row.try_get_by_index(4)?));
        let last = rows.last().filter(|_| rows.len() == limit as usize).map(position).transpose()?;
        Ok(Page { items: expired_of(&rows)?, next: last.map(|last| GrantPosition::Permit(Some(last))) })
    }
}

/// The grants of those rows whose fourth column says that they have expired.
fn expired_of(rows: &[QueryResult]) -> Result<Vec<(KeyId, Version)>, DbErr> {
    let mut grants = Vec::new();
    for row in rows {
        if row.try_get_by_index::<Option<bool>>(3)? == Some(true) {
            grants.push((read_id(row)?, Version(row.try_get_by_index(2)?)));
        }
    }
    Ok(grants)
}

#[cfg(test)]
mod tests;
