//! Removes tombstones.
//!
//! A tombstone keeps its key's token. It is removed only after the floor of its tenant was raised to at least this
//! token, and after the raised floor has settled: every creation that could have read the old floor has ended. If the
//! deletion itself raised the floor, tokens could be granted twice.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{DbErr, Value};

use super::super::{
    SweepPlace, TombstonePage,
    rows::{KIND_ABSENT, TOMBSTONES_FROM, read_id},
    sql_store::SqlStore,
};
use crate::domain::{KeyId, Tenant, Timestamp, Token};

/// The number of rows that one transaction changes. SQLite has one writer at a time, and all wait for it.
const ROWS_AT_A_TIME: usize = 100;

/// What is to be done with the tombstones of a page.
#[derive(Debug, Default)]
struct Due {
    /// In the order of the keys.
    removable: Vec<KeyId>,
    /// Tenants whose floor has settled and is not yet marked so.
    settled: BTreeSet<Tenant>,
    /// The highest tokens of tombstones that are above their tenant's settled floor.
    above: BTreeMap<Tenant, Token>,
    /// The time of the last row, if there may be more rows.
    last: Option<i64>,
}

impl SqlStore {
    /// Reads the next rows that are due, and removes the tombstones among them.
    pub(super) async fn tombstone_page(
        &self,
        before: Timestamp,
        settle_ms: i64,
        from: SweepPlace,
        limit: u32,
    ) -> Result<TombstonePage, DbErr> {
        let due = self.due_tombstones(before, settle_ms, from, limit).await?;
        self.settle_floors(&due.settled, settle_ms).await?;
        let mut removed = Vec::new();
        for ids in due.removable.chunks(ROWS_AT_A_TIME) {
            removed.extend(self.delete_tombstones(ids, before).await?);
        }
        let next = match due.last {
            Some(last) => Some(from.after_page(SweepPlace(last), !removed.is_empty())),
            // Those that earlier versions of this program wrote come first.
            None => (from.0 < TOMBSTONES_FROM).then_some(SweepPlace(TOMBSTONES_FROM)),
        };
        Ok(TombstonePage { removed, floors: due.above, next })
    }

    async fn due_tombstones(
        &self,
        before: Timestamp,
        settle_ms: i64,
        from: SweepPlace,
        limit: u32,
    ) -> Result<Due, DbErr> {
        let up_to = if from.0 < TOMBSTONES_FROM {
            before.0.min(TOMBSTONES_FROM - 1)
        } else {
            before.0.saturating_add(TOMBSTONES_FROM)
        };
        let values = [from.0, up_to, i64::from(limit), settle_ms].map(Value::from);
        let sql = &self.sql.sweep.tombstones;
        let rows = self.query(self.general_pool(), &self.sweep, sql, values).await?;
        let mut due = Due::default();
        for row in &rows {
            due.last = due.last.max(Some(row.try_get_by_index(2)?));
            let (kind, waiters): (i16, i64) = (row.try_get_by_index(3)?, row.try_get_by_index(4)?);
            if kind != KIND_ABSENT || waiters != 0 {
                continue;
            }
            let (id, token): (_, i64) = (read_id(row)?, row.try_get_by_index(5)?);
            let (marked, settled): (Option<i64>, Option<i64>) =
                (row.try_get_by_index(6)?, row.try_get_by_index(7)?);
            if marked < settled {
                due.settled.insert(id.tenant.clone());
            }
            if settled.is_some_and(|settled| token <= settled) {
                due.removable.push(id);
            } else {
                let above = due.above.entry(id.tenant).or_insert(Token(token));
                *above = (*above).max(Token(token));
            }
        }
        due.last = due.last.filter(|_| rows.len() == limit as usize);
        due.removable.sort_unstable();
        Ok(due)
    }

    /// Marks floors as settled that were raised at least `settle_ms` ago.
    async fn settle_floors(&self, tenants: &BTreeSet<Tenant>, settle_ms: i64) -> Result<(), DbErr> {
        let tenants: Vec<_> = tenants.iter().collect();
        for tenants in tenants.chunks(ROWS_AT_A_TIME) {
            self.write("settle_floors", self.general_pool(), &self.sweep, |db| {
                Box::pin(async move {
                    for tenant in tenants {
                        let values = [Value::from(tenant.as_str()), Value::from(settle_ms)];
                        self.execute(db, &self.sweep, &self.sql.sweep.settle_floor, values).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        }
        Ok(())
    }

    /// Deletes those of these tombstones that may still be removed, and that nobody has locked.
    async fn delete_tombstones(&self, ids: &[KeyId], before: Timestamp) -> Result<Vec<KeyId>, DbErr> {
        let (pool, sql) = (self.general_pool(), &self.sql.sweep);
        let mut values = self.keys_of_sweep(ids);
        values.push(Value::from(before.0));
        let values = &values;
        if let Some(lock) = &sql.lock_tombstones {
            return self
                .transaction("delete_tombstones", pool, &self.sweep, |db| {
                    Box::pin(async move {
                        let locked = self.query(db, &self.sweep, lock, values.clone()).await?;
                        let locked = locked.iter().map(read_id).collect::<Result<Vec<_>, _>>()?;
                        let keys = self.keys_of_sweep(&locked);
                        self.execute(db, &self.sweep, &sql.delete_tombstones, keys).await?;
                        Ok(locked)
                    })
                })
                .await;
        }
        self.write("delete_tombstones", pool, &self.sweep, |db| {
            Box::pin(async move {
                let removed = self.query(db, &self.sweep, &sql.delete_tombstones, values.clone()).await?;
                removed.iter().map(read_id).collect()
            })
        })
        .await
    }

    pub(super) async fn raise_each_floor(&self, floors: &BTreeMap<Tenant, Token>) -> Result<(), DbErr> {
        let floors: Vec<_> = floors.iter().collect();
        for floors in floors.chunks(ROWS_AT_A_TIME) {
            self.write("raise_floors", self.general_pool(), &self.sweep, |db| {
                Box::pin(async move {
                    for (tenant, floor) in floors {
                        let values = [Value::from(tenant.as_str()), Value::from(floor.0)];
                        self.execute(db, &self.sweep, &self.sql.sweep.raise_floor, values).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        }
        Ok(())
    }
}
