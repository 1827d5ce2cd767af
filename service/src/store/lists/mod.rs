//! [`ListStore`] over SQL: lists, a page at a time in byte order of the keys, and counts.

mod apart;
mod permit_search;
mod queries;
mod ranges;
mod search;
pub(super) mod turns;
mod views;

use std::sync::Arc;

use async_trait::async_trait;
use db_locks_entity::{locks, permits};
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait, Value,
    sea_query::{Expr, Func},
};

use self::{
    permit_search::PermitSearch,
    queries::{is_held, is_out},
    search::{Search, Shown},
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
                    let shown =
                        Shown { tenant: &tenant, kinds: &MUTEXES, are_rare: false, filter: &filter, now };
                    let mut search = Search::new(store, shown, after);
                    let mut page = PageInProgress::new(limit);
                    let item = |row: locks::Model| {
                        let view = lock_view(&row, now).filter(|view| has_owner(view, filter.owner.as_ref()));
                        (view, Key::trusted(&row.key))
                    };
                    loop {
                        let rows = search.next(page.rows_wanted()).await?;
                        if !page.extend(rows, item).await || search.is_over() {
                            return Ok(page.finish());
                        }
                        if turn.is_long()
                            && let Some(next) = search.position().or(page.last_shown()).cloned()
                        {
                            return Ok(page.cut(next));
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
                    let filter = LockFilter { keys: filter, ..LockFilter::default() };
                    let shown =
                        Shown { tenant: &tenant, kinds: &SEMAPHORES, are_rare: true, filter: &filter, now };
                    let mut search = Search::new(store, shown, after);
                    // Their rows are small, since they have no data.
                    let mut found = Vec::new();
                    let most = limit as usize;
                    loop {
                        found.extend(search.next(u64::from(limit) + 1).await?);
                        let can_end = search.position().is_some() || !found.is_empty();
                        if found.len() > most || search.is_over() || (turn.is_long() && can_end) {
                            break;
                        }
                        turn.let_others().await?;
                    }
                    let last = || found.last().map(|row| Key::trusted(&row.key));
                    let mut next =
                        if search.is_over() { None } else { search.position().cloned().or_else(last) };
                    let mut items = Vec::with_capacity(found.len().min(most));
                    for (at, row) in found.iter().enumerate() {
                        if at == most || (at > 0 && turn.is_very_long()) {
                            next = Some(Key::trusted(&found[at - 1].key));
                            break;
                        }
                        let mut busy = 0;
                        for (sql, values) in store.busy_counts([&row.tenant, &row.key], row.slots, now) {
                            turn.let_others().await?;
                            busy +=
                                count(&store.query(store.general_pool(), &store.list, sql, values).await?)?;
                        }
                        items.push(semaphore_view(row, busy));
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
                    let mut search = PermitSearch::new(store, &id, now, after);
                    let mut page = PageInProgress::new(limit);
                    let item =
                        |row: permits::Model| (Some(permit_of(&row).view(id.clone(), exactly)), row.slot);
                    loop {
                        let rows = search.next(page.rows_wanted()).await?;
                        if !page.extend(rows, item).await || search.is_over() {
                            return Ok(page.finish());
                        }
                        if turn.is_long()
                            && let Some(position) = search.position()
                        {
                            return Ok(page.cut(position));
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

/// Whether a lock is held by this owner. The query compares owners as they are stored, with parts of their credentials.
fn has_owner(view: &LockView, owner: Option<&Owner>) -> bool {
    let is_his = |owner: &Owner| view.held.as_ref().is_some_and(|held| held.owner.as_str() == owner.as_str());
    owner.is_none_or(is_his)
}

#[cfg(test)]
mod tests;
