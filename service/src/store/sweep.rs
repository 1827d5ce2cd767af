//! [`SweepStore`] over SQL.
//!
//! A tombstone keeps its key's token. It is removed only after the floor of its tenant was raised to at least this
//! token, and after the raised floor has settled: every creation that could have read the old floor has ended. If the
//! deletion itself raised the floor, tokens could be granted twice.
//!
//! Every step may be repeated, so errors are classified like those of reads: nobody has to find out whether a step was
//! carried out if its answer was lost.

use async_trait::async_trait;
use db_locks_entity::{locks, sweep_lease, token_floors, waiters};
use sea_orm::{
    ColumnTrait, Condition, DbErr, EntityTrait, ExprTrait, Order, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, Value,
    sea_query::{Alias, Expr, Query},
};
use uuid::Uuid;

use super::{
    GrantPosition, Page, StoreError, SweepStore,
    after::after_key,
    classify::Purpose,
    dialect::Dialect,
    rows::{ENDING, KIND_ABSENT, MUTEXES, SWEEP_AT_ONCE, read_id},
    sql_store::SqlStore,
    writer::Writer,
};
use crate::domain::{KeyId, ReplicaId, Timestamp, Version};

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

    async fn ended_to_delete(&self, before: Timestamp, limit: u32) -> Result<Vec<KeyId>, StoreError> {
        let query = locks::Entity::find()
            .select_only()
            .columns([locks::Column::Tenant, locks::Column::Key])
            .filter(sweepable(MUTEXES, before))
            .filter(locks::Column::SweepAtMs.ne(SWEEP_AT_ONCE.0))
            .limit(u64::from(limit));
        self.select_ids(self.general_pool(), &self.sweep, "ended_to_delete", &query.into_query()).await
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
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.gate.pass()?;
        let work = self.write("sweep_tombstones", self.general_pool(), &self.sweep, |db| {
            Box::pin(async move {
                self.settle_floors(db, settle_ms).await?;
                let removed = self.delete_tombstones(db, before, limit).await?;
                self.delete_orphaned_guards(db, limit).await?;
                self.raise_floors(db, before, u64::from(limit) * 20).await?;
                Ok(removed)
            })
        });
        self.sweep.run(Purpose::Read, work).await
    }
}

/// A condition for rows of these kinds that may be swept since `before` or earlier.
fn sweepable<const N: usize>(kinds: [i16; N], before: Timestamp) -> Condition {
    Condition::all()
        .add(locks::Column::SweepAtMs.is_not_null())
        .add(locks::Column::SweepAtMs.lte(before.0))
        .add(locks::Column::Kind.is_in(kinds))
}

impl SqlStore {
    /// Database time, as an expression of a query over entities.
    pub(super) fn now_expr(&self) -> Expr {
        Expr::cust(self.sql.dialect.now())
    }

    /// Marks floors as settled that were raised at least `settle_ms` ago.
    async fn settle_floors(&self, db: &Writer<'_>, settle_ms: i64) -> Result<(), DbErr> {
        use token_floors::Column::{Floor, RaisedAtMs, SettledFloor};
        let settle = token_floors::Entity::update_many()
            .col_expr(SettledFloor, Floor.into_expr())
            .filter(SettledFloor.into_expr().lt(Floor.into_expr()))
            .filter(RaisedAtMs.into_expr().lte(self.now_expr().sub(settle_ms)));
        self.change(db, &self.sweep, "settle_floors", &settle.into_query()).await
    }

    /// Raises the floors of tenants whose tombstones are next to be removed.
    async fn raise_floors(&self, db: &Writer<'_>, before: Timestamp, limit: u64) -> Result<(), DbErr> {
        use locks::Column::{SweepAtMs, Tenant, Token, Waiters};
        let next = locks::Entity::find()
            .select_only()
            .columns([Tenant, Token])
            .filter(sweepable([KIND_ABSENT], before))
            .filter(Waiters.eq(0i64))
            .order_by(SweepAtMs, Order::Asc)
            .limit(limit);
        let floors = Query::select()
            .column(Tenant)
            .expr(Expr::col(Token).max())
            .from_subquery(next.into_query(), Alias::new("t"))
            .group_by_col(Tenant)
            .to_owned();
        for row in &self.select(db, &self.sweep, "tombstone_floors", &floors).await? {
            let (tenant, floor): (String, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            let values = [Value::from(tenant), Value::from(floor)];
            self.execute(db, &self.sweep, &self.sql.sweep.raise_floor, values).await?;
        }
        Ok(())
    }

    /// Deletes guard rows of keys that are gone. Such rows name no grant.
    async fn delete_orphaned_guards(&self, db: &Writer<'_>, limit: u32) -> Result<(), DbErr> {
        let limit = [Value::from(i64::from(limit))];
        for row in &self.query(db, &self.sweep, &self.sql.guards.orphans, limit).await? {
            let id = read_id(row)?;
            let id = [Value::from(id.tenant.as_str()), Value::from(id.key.as_str())];
            self.execute(db, &self.sweep, &self.sql.guards.delete_orphan, id).await?;
        }
        Ok(())
    }

    async fn delete_tombstones(&self, db: &Writer<'_>, before: Timestamp, limit: u32) -> Result<u64, DbErr> {
        let values = [Value::from(before.0), Value::from(i64::from(limit))];
        let sql = &self.sql.sweep.delete_tombstones;
        if matches!(self.sql.dialect, Dialect::Sqlite | Dialect::Postgres) {
            return self.execute(db, &self.sweep, sql, values).await;
        }
        // MariaDB and MySQL cannot delete from a table that the same statement selects from.
        let values = &values;
        self.transaction("delete_tombstones", self.general_pool(), &self.sweep, |db| {
            Box::pin(async move {
                let mut removed = 0;
                for row in &self.query(db, &self.sweep, sql, values.clone()).await? {
                    let id = read_id(row)?;
                    let id = [Value::from(id.tenant.as_str()), Value::from(id.key.as_str())];
                    removed += self.execute(db, &self.sweep, &self.sql.sweep.delete_tombstone, id).await?;
                }
                Ok(removed)
            })
        })
        .await
    }
}
