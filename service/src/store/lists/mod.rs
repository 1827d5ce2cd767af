//! [`ListStore`] over SQL: lists, a page at a time in byte order of the keys, and counts.

mod apart;
mod queries;
pub(super) mod turns;
mod views;

use std::sync::Arc;

use async_trait::async_trait;
use db_locks_entity::{locks, permits};
use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, QueryFilter, QuerySelect, QueryTrait, Select, Value,
    sea_query::{Expr, Func},
};

use self::{
    queries::{is_held, is_out, keys_of, locks_of, permits_of},
    turns::Turn,
    views::{lock_view, permit_of, semaphore_view},
};
use super::{
    HeldCounts, KeyFilter, ListStore, LockFilter, Page, StoreError,
    classify::Purpose,
    page::PageInProgress,
    rows::{MUTEXES, SEMAPHORES, count},
    sql_store::SqlStore,
};
use crate::domain::{Key, KeyId, LockView, Now, Owner, SemaphoreView, Tenant};

#[async_trait]
impl ListStore for SqlStore {
    async fn list_locks(
        self: Arc<Self>,
        tenant: Tenant,
        filter: LockFilter,
        after: Option<Key>,
        limit: u32,
    ) -> Result<Page<LockView, Key>, StoreError> {
        let line = Some(tenant.clone());
        self.read_page(
            line,
            |store| &store.list,
            move |store, turn| {
                Box::pin(async move {
                    let now = store.read_now(store.general_pool()).await?;
                    let mut page = PageInProgress::new(limit);
                    loop {
                        let after = page.last().or(after.as_ref());
                        let query = locks_of(&tenant, &filter, after, now);
                        let wanted = page.rows_wanted();
                        let rows = store.rows(query.limit(wanted)).await?;
                        let is_last = (rows.len() as u64) < wanted;
                        let item = |row: locks::Model| {
                            let view = lock_view(&row, now).filter(|view| is_shown(view, &filter));
                            (view, Key::trusted(&row.key))
                        };
                        if !page.extend(rows, item).await || is_last {
                            return Ok(page.finish());
                        }
                        turn.let_others().await?;
                    }
                })
            },
        )
        .await
    }

    async fn list_semaphores(
        self: Arc<Self>,
        tenant: Tenant,
        filter: KeyFilter,
        after: Option<Key>,
        limit: u32,
    ) -> Result<Page<SemaphoreView, Key>, StoreError> {
        let line = Some(tenant.clone());
        self.read_page(
            line,
            |store| &store.list,
            move |store, turn| {
                Box::pin(async move {
                    let now = store.read_now(store.general_pool()).await?;
                    let found = store.find_semaphores(turn, &tenant, &filter, after, limit).await?;
                    let (shown, more) = found.split_at(found.len().min(limit as usize));
                    let next = shown.last().filter(|_| !more.is_empty()).map(|row| Key::trusted(&row.key));
                    let mut items = Vec::with_capacity(shown.len());
                    for row in shown {
                        turn.let_others().await?;
                        let values = [row.tenant.as_str().into(), row.key.as_str().into(), now.0.into()];
                        let pool = store.general_pool();
                        let busy = store.query(pool, &store.list, &store.sql.count_busy, values).await?;
                        items.push(semaphore_view(row, count(&busy)?));
                    }
                    Ok(Page { items, next })
                })
            },
        )
        .await
    }

    async fn list_permits(
        self: Arc<Self>,
        id: KeyId,
        after: Option<i32>,
        limit: u32,
    ) -> Result<Page<LockView, i32>, StoreError> {
        let line = Some(id.tenant.clone());
        self.read_page(
            line,
            |store| &store.list,
            move |store, turn| {
                Box::pin(async move {
                    let now = store.read_now(store.general_pool()).await?;
                    let exactly = Now { at_least: now, at_most: now };
                    let mut page = PageInProgress::new(limit);
                    loop {
                        let query = permits_of(&id, page.last().copied().or(after), now);
                        let wanted = page.rows_wanted();
                        store.list.round_trips.increment(1);
                        let rows = query.limit(wanted).all(store.general_pool()).await?;
                        let is_last = (rows.len() as u64) < wanted;
                        let item =
                            |row: permits::Model| (Some(permit_of(&row).view(id.clone(), exactly)), row.slot);
                        if !page.extend(rows, item).await || is_last {
                            return Ok(page.finish());
                        }
                        turn.let_others().await?;
                    }
                })
            },
        )
        .await
    }

    async fn stored_bytes(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        let work = async {
            let values = [(); 3].map(|()| Value::from(tenant.as_str()));
            let rows = self.query(self.general_pool(), &self.sweep, &self.sql.stored_bytes, values).await?;
            Ok(u64::try_from(count(&rows)?).unwrap_or_default())
        };
        self.sweep.run(Purpose::Read, work).await
    }

    async fn count_held(&self) -> Result<HeldCounts, StoreError> {
        let count_all = || Func::count(Expr::val(1));
        let locks = locks::Entity::find()
            .select_only()
            .expr(count_all())
            .filter(locks::Column::Kind.is_in(MUTEXES))
            .filter(is_held(self.now_expr()));
        let permits = permits::Entity::find().select_only().expr(count_all()).filter(is_out(self.now_expr()));
        let work = async {
            let pool = self.general_pool();
            Ok(HeldCounts {
                locks: count(
                    &self.select(pool, &self.sweep, "count_locks_held", &locks.into_query()).await?,
                )?,
                permits: count(
                    &self.select(pool, &self.sweep, "count_permits_held", &permits.into_query()).await?,
                )?,
            })
        };
        self.sweep.run(Purpose::Read, work).await
    }
}

impl SqlStore {
    /// The semaphores of a tenant that pass a filter, after a key: at most one more than `limit`. Their rows are small, since
    /// they have no data.
    async fn find_semaphores(
        &self,
        turn: &mut Turn,
        tenant: &Tenant,
        filter: &KeyFilter,
        mut after: Option<Key>,
        limit: u32,
    ) -> Result<Vec<locks::Model>, DbErr> {
        let wanted = u64::from(limit) + 1;
        let mut found: Vec<locks::Model> = Vec::new();
        loop {
            let query = keys_of(tenant, SEMAPHORES, filter, after.as_ref());
            let rows = self.rows(query.limit(wanted)).await?;
            let is_last = (rows.len() as u64) < wanted;
            after = rows.last().map(|row| Key::trusted(&row.key));
            for row in rows {
                // As on other pages: matching key patterns takes up to some milliseconds.
                tokio::task::yield_now().await;
                if matches(filter, &row.key) {
                    found.push(row);
                }
            }
            if is_last || found.len() > limit as usize {
                return Ok(found);
            }
            turn.let_others().await?;
        }
    }

    async fn rows(&self, query: Select<locks::Entity>) -> Result<Vec<locks::Model>, DbErr> {
        self.list.round_trips.increment(1);
        query.all(self.general_pool()).await
    }
}

/// Whether a lock passes those parts of a filter that the query did not check.
fn is_shown(view: &LockView, filter: &LockFilter) -> bool {
    let has_owner =
        |owner: &Owner| view.held.as_ref().is_some_and(|held| held.owner.as_str() == owner.as_str());
    matches(&filter.keys, view.id.key.as_str()) && filter.owner.as_ref().is_none_or(has_owner)
}

/// Whether the patterns of a filter match a key.
fn matches(filter: &KeyFilter, key: &str) -> bool {
    filter.patterns.as_ref().is_none_or(|patterns| patterns.matches(key))
}
