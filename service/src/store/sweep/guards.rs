//! Removes guard rows of keys that are gone.
//!
//! A key that is made again while its guard rows are removed keeps them: either its row is there already, or its creation finds
//! the guard row locked and comes back.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, DbErr, Value};

use super::super::{
    Page,
    children::{keys_text, slots_text},
    rows::read_id,
    sql::GuardRemoval,
    sql_store::SqlStore,
};
use crate::domain::KeyId;

/// The number of guard rows that one transaction removes. SQLite has one writer at a time, and all wait for it.
const REMOVED_AT_A_TIME: i64 = 100;

impl SqlStore {
    /// Those keys among the next `limit` guard rows that have no row.
    pub(super) async fn orphans_after(
        &self,
        after: Option<&KeyId>,
        limit: u32,
    ) -> Result<Page<KeyId, KeyId>, DbErr> {
        let [of_tenant, of_later_tenants] = &self.sql.guards.sweep.after;
        let (pool, operation, mut left) = (self.general_pool(), &self.sweep, i64::from(limit));
        let mut rows = Vec::new();
        let tenant = after.map_or("", |id| id.tenant.as_str());
        if let Some(id) = after {
            let values = [tenant.into(), id.key.as_str().into(), Value::from(left)];
            rows = self.query(pool, operation, of_tenant, values).await?;
            left -= i64::try_from(rows.len()).unwrap_or(left);
        }
        if left > 0 {
            let values = [Value::from(tenant), Value::from(left)];
            rows.extend(self.query(pool, operation, of_later_tenants, values).await?);
        }
        // Keys have a row for each slot.
        let (mut orphans, mut last) = (BTreeSet::new(), None);
        for row in &rows {
            let id = read_id(row)?;
            if row.try_get_by_index::<bool>(2)? {
                orphans.insert(id.clone());
            }
            last = last.max(Some(id));
        }
        let next = last.filter(|_| rows.len() == limit as usize);
        Ok(Page { items: orphans.into_iter().collect(), next })
    }

    /// Removes at most `limit` guard rows of those of these keys that have no row. Rows that somebody has locked stay.
    pub(super) async fn remove_guards_of(&self, gone: &[KeyId], limit: u32) -> Result<u64, DbErr> {
        let mut removed = 0;
        while !gone.is_empty() && removed < u64::from(limit) {
            let some = self.remove_some_guards(gone).await?;
            removed += some;
            if some < REMOVED_AT_A_TIME.unsigned_abs() {
                break;
            }
        }
        Ok(removed)
    }

    async fn remove_some_guards(&self, gone: &[KeyId]) -> Result<u64, DbErr> {
        let (pool, operation) = (self.general_pool(), &self.sweep);
        let mut values = self.keys_of_sweep(gone);
        values.push(Value::from(REMOVED_AT_A_TIME));
        let values = &values;
        match &self.sql.guards.sweep.removal {
            GuardRemoval::One(sql) => {
                self.write("remove_guards", pool, operation, |db| {
                    Box::pin(self.execute(db, operation, sql, values.clone()))
                })
                .await
            }
            GuardRemoval::Steps { lock, delete } => {
                self.transaction("remove_guards", pool, operation, |db| {
                    Box::pin(self.remove_guards_in_steps(db, values, [lock, delete]))
                })
                .await
            }
        }
    }

    async fn remove_guards_in_steps(
        &self,
        db: &impl ConnectionTrait,
        values: &[Value],
        [lock, delete]: [&String; 2],
    ) -> Result<u64, DbErr> {
        let mut slots = Vec::new();
        for row in &self.query(db, &self.sweep, lock, values.iter().cloned()).await? {
            slots.push((read_id(row)?, row.try_get_by_index::<i32>(2)?));
        }
        let keys = Value::from(keys_text(slots.iter().map(|(id, _)| id)));
        let existing = self.query(db, &self.sweep, &self.sql.mysql.find_existing, [keys]).await?;
        let existing = existing.iter().map(read_id).collect::<Result<BTreeSet<_>, _>>()?;
        slots.retain(|(id, _)| !existing.contains(id));
        self.execute(db, &self.sweep, delete, [Value::from(slots_text(&slots))]).await
    }
}
