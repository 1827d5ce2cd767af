//! [`SweepStore`] over SQL: the lease of the sweeper, and the searches for what it has to do. `tombstones` and `guards` remove
//! rows.
//!
//! Each statement reads a bounded number of rows in the order of an index. A search that has more to read goes on where
//! the last statement ended, so that rows that cannot be removed yet are not read again and again.
//!
//! Every step may be repeated, so errors are classified like those of reads: nobody has to find out whether a step was
//! carried out if its answer was lost.

mod guards;
mod page;
mod tombstones;

use std::collections::BTreeMap;

use async_trait::async_trait;
use db_locks_entity::{locks, sweep_lease, waiters};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Value,
    sea_query::Expr,
};
use uuid::Uuid;

pub use self::page::{SweepPlace, TombstonePage};
use super::{
    GrantPosition, Page, StoreError, SweepStore,
    after::after_key,
    children::keys_text,
    classify::Purpose,
    dialect::Dialect,
    load::key_arrays,
    rows::{ENDING, MUTEXES, SWEEP_AT_ONCE, TOMBSTONES_FROM, read_id},
    sql_store::SqlStore,
};
use crate::domain::{KeyId, ReplicaId, Tenant, Timestamp, Token, Version};

/// The id of the only row of `sweep_lease`.
const LEASE: i32 = 1;

#[async_trait]
impl SweepStore for SqlStore {
    async fn lead_sweep(&self, me: ReplicaId, lease_ms: i64) -> Result<bool, StoreError> {
        self.gate.pass()?;
        let holder = sweep_lease::Entity::find_by_id(LEASE).select_only().column(sweep_lease::Column::Holder);
        let holder = holder.into_query();
        let holder = &holder;
        let work = self.write("lead_sweep", self.general_pool(), &self.sweep, |db| {
            Box::pin(async move {
                let values = [Value::from(me.0), Value::from(lease_ms)];
                self.execute(db, &self.sweep, &self.sql.sweep.lead_sweep, values).await?;
                let rows = self.select(db, &self.sweep, "leader", holder).await?;
                let holder = rows.first().map(|row| row.try_get_by_index::<Uuid>(0)).transpose()?;
                Ok(holder == Some(me.0))
            })
        });
        self.sweep.run(Purpose::Read, work).await
    }

    async fn yield_sweep(&self, me: ReplicaId) -> Result<(), StoreError> {
        self.gate.pass()?;
        let lapse = sweep_lease::Entity::update_many()
            .col_expr(sweep_lease::Column::ExpiresAtMs, Expr::val(0i64))
            .filter(sweep_lease::Column::Id.eq(LEASE))
            .filter(sweep_lease::Column::Holder.eq(me.0))
            .into_query();
        let lapse = &lapse;
        let work = self.write("yield_sweep", self.general_pool(), &self.sweep, |db| {
            Box::pin(self.change(db, &self.sweep, "yield_sweep", lapse))
        });
        self.sweep.run(Purpose::Read, work).await
    }

    async fn lapsed_places(&self, limit: u32) -> Result<Vec<KeyId>, StoreError> {
        let query = waiters::Entity::find()
            .select_only()
            .distinct()
            .columns([waiters::Column::Tenant, waiters::Column::Key])
            .filter(waiters::Column::DetachedUntilMs.is_not_null())
            .filter(waiters::Column::DetachedUntilMs.into_expr().lte(self.now_expr()))
            .limit(u64::from(limit));
        self.select_ids(self.general_pool(), &self.sweep, "lapsed_places", &query.into_query()).await
    }

    async fn ended_to_delete(
        &self,
        before: Timestamp,
        from: SweepPlace,
        limit: u32,
    ) -> Result<Page<KeyId, SweepPlace>, StoreError> {
        let values = [from.0, Ord::min(before.0, TOMBSTONES_FROM - 1), i64::from(limit)].map(Value::from);
        let work = async {
            let sql = &self.sql.sweep.ended;
            let rows = self.query(self.general_pool(), &self.sweep, sql, values).await?;
            let mut items = Vec::new();
            for row in &rows {
                // Earlier versions of this program put tombstones between the locks.
                if MUTEXES.contains(&row.try_get_by_index::<i16>(3)?) {
                    items.push(read_id(row)?);
                }
            }
            let last = rows.last().filter(|_| rows.len() == limit as usize);
            let next = last.map(|row| row.try_get_by_index(2)).transpose()?;
            Ok(Page { items, next: next.map(SweepPlace) })
        };
        self.sweep.run(Purpose::Read, work).await
    }

    async fn unfinished_releases(&self, limit: u32) -> Result<Vec<KeyId>, StoreError> {
        let query = locks::Entity::find()
            .select_only()
            .columns([locks::Column::Tenant, locks::Column::Key])
            .filter(locks::Column::SweepAtMs.eq(SWEEP_AT_ONCE.0))
            .filter(locks::Column::Kind.is_in(ENDING))
            .limit(u64::from(limit));
        self.select_ids(self.general_pool(), &self.sweep, "unfinished_releases", &query.into_query()).await
    }

    async fn expired_grants(
        &self,
        before: Timestamp,
        after: Option<&GrantPosition>,
        limit: u32,
    ) -> Result<Page<(KeyId, Version), GrantPosition>, StoreError> {
        Box::pin(self.sweep.run(Purpose::Read, self.expired_after(before, after, limit))).await
    }

    async fn idle_mutexes(
        &self,
        since: Timestamp,
        after: Option<&KeyId>,
        limit: u32,
    ) -> Result<Page<KeyId, KeyId>, StoreError> {
        use locks::Column::{ExpiresAtMs, Key, Kind, Released, Tenant, UpdatedAtMs, Version, Waiters};
        let is_free =
            Version.is_null().or(Released.eq(true)).or(ExpiresAtMs.into_expr().lte(self.now_expr()));
        let is_idle = Kind.is_in(MUTEXES).and(UpdatedAtMs.lte(since.0)).and(Waiters.eq(0i64)).and(is_free);
        // Every row is read: the cursor of the next page has to move on even if no mutex is idle.
        let query = locks::Entity::find()
            .select_only()
            .columns([Tenant, Key])
            .expr(is_idle)
            .order_by_asc(Tenant)
            .order_by_asc(Key);
        let work = async {
            let ranges = after_key(Tenant, Key, after);
            let rows = self.select_after("idle_mutexes", &query, ranges, limit).await?;
            let mut items = Vec::new();
            for row in &rows {
                if row.try_get_by_index::<bool>(2)? {
                    items.push(read_id(row)?);
                }
            }
            let is_full = rows.len() == limit as usize;
            let next = rows.last().filter(|_| is_full).map(read_id).transpose()?;
            Ok(Page { items, next })
        };
        self.sweep.run(Purpose::Read, work).await
    }

    async fn sweep_tombstones(
        &self,
        before: Timestamp,
        settle_ms: i64,
        from: SweepPlace,
        limit: u32,
    ) -> Result<TombstonePage, StoreError> {
        self.gate.pass()?;
        self.sweep.run(Purpose::Read, self.tombstone_page(before, settle_ms, from, limit)).await
    }

    async fn raise_floors(&self, floors: &BTreeMap<Tenant, Token>) -> Result<(), StoreError> {
        self.gate.pass()?;
        self.sweep.run(Purpose::Read, self.raise_each_floor(floors)).await
    }

    async fn orphaned_guards(
        &self,
        after: Option<&KeyId>,
        limit: u32,
    ) -> Result<Page<KeyId, KeyId>, StoreError> {
        self.sweep.run(Purpose::Read, self.orphans_after(after, limit)).await
    }

    async fn remove_guards(&self, gone: &[KeyId], limit: u32) -> Result<u64, StoreError> {
        self.gate.pass()?;
        self.sweep.run(Purpose::Read, self.remove_guards_of(gone, limit)).await
    }
}

impl SqlStore {
    /// Database time, as an expression of a query over entities.
    pub(super) fn now_expr(&self) -> Expr {
        Expr::cust(self.sql.dialect.now())
    }

    /// Keys as the first values of a statement of the sweeper.
    fn keys_of_sweep(&self, ids: &[KeyId]) -> Vec<Value> {
        match self.sql.dialect {
            Dialect::Postgres => key_arrays(ids.iter()).into(),
            Dialect::Sqlite | Dialect::MariaDb | Dialect::MySql => vec![Value::from(keys_text(ids))],
        }
    }
}
