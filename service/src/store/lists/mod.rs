//! [`ListStore`] over SQL: lists, a page at a time in byte order of the keys, and counts.

mod views;

use async_trait::async_trait;
use db_locks_entity::{locks, permits};
use sea_orm::{
    ColumnTrait, Condition, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    Select, Value,
    sea_query::{Expr, Func},
};

use self::views::{lock_view, permit_of, semaphore_view};
use super::{
    HeldCounts, KeyFilter, ListStore, LockFilter, Page, StoreError,
    classify::{Purpose, overloaded},
    page::PageInProgress,
    rows::{KIND_ENDING_HELD, MUTEXES, SEMAPHORES, count},
    sql_store::SqlStore,
};
use crate::access::KeyPatterns;
use crate::domain::{Key, KeyId, LockView, Now, Owner, SemaphoreView, Tenant, Timestamp};

#[async_trait]
impl ListStore for SqlStore {
    async fn list_locks(
        &self,
        tenant: &Tenant,
        filter: &LockFilter,
        after: Option<&Key>,
        limit: u32,
    ) -> Result<Page<LockView, Key>, StoreError> {
        let work = async {
            let now = self.read_now(self.general_pool()).await?;
            let mut page = PageInProgress::new(limit);
            loop {
                let after = page.last().or(after);
                let query = locks_of(tenant, filter, after, now);
                let wanted = page.rows_wanted();
                let rows = self.rows(query.limit(wanted)).await?;
                let is_last = (rows.len() as u64) < wanted;
                let item = |row: locks::Model| {
                    let view = lock_view(&row, now).filter(|view| is_shown(view, filter));
                    (view, Key::trusted(&row.key))
                };
                if !page.extend(rows, item).await || is_last {
                    return Ok(page.finish());
                }
            }
        };
        let _permit = self.list_permits.try_acquire().map_err(|_| overloaded())?;
        self.list.run(Purpose::Read, work).await
    }

    async fn list_semaphores(
        &self,
        tenant: &Tenant,
        filter: &KeyFilter,
        after: Option<&Key>,
        limit: u32,
    ) -> Result<Page<SemaphoreView, Key>, StoreError> {
        let work = async {
            let now = self.read_now(self.general_pool()).await?;
            // A row of a semaphore is small: it has no data.
            let wanted = u64::from(limit) + 1;
            let mut found: Vec<locks::Model> = Vec::new();
            let mut after = after.cloned();
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
                    break;
                }
            }
            let (shown, more) = found.split_at(found.len().min(limit as usize));
            let next = shown.last().filter(|_| !more.is_empty()).map(|row| Key::trusted(&row.key));
            let mut items = Vec::with_capacity(shown.len());
            for row in shown {
                let values = [row.tenant.as_str().into(), row.key.as_str().into(), now.0.into()];
                let busy = self.query(self.general_pool(), &self.list, &self.sql.count_busy, values).await?;
                items.push(semaphore_view(row, count(&busy)?));
            }
            Ok(Page { items, next })
        };
        let _permit = self.list_permits.try_acquire().map_err(|_| overloaded())?;
        self.list.run(Purpose::Read, work).await
    }

    async fn list_permits(
        &self,
        id: &KeyId,
        after: Option<i32>,
        limit: u32,
    ) -> Result<Page<LockView, i32>, StoreError> {
        let work = async {
            let now = self.read_now(self.general_pool()).await?;
            let exactly = Now { at_least: now, at_most: now };
            let mut page = PageInProgress::new(limit);
            loop {
                let query = permits_of(id, page.last().copied().or(after), now);
                let wanted = page.rows_wanted();
                self.list.round_trips.increment(1);
                let rows = query.limit(wanted).all(self.general_pool()).await?;
                let is_last = (rows.len() as u64) < wanted;
                let item = |row: permits::Model| (Some(permit_of(&row).view(id.clone(), exactly)), row.slot);
                if !page.extend(rows, item).await || is_last {
                    return Ok(page.finish());
                }
            }
        };
        let _permit = self.list_permits.try_acquire().map_err(|_| overloaded())?;
        self.list.run(Purpose::Read, work).await
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
    async fn rows(&self, query: Select<locks::Entity>) -> Result<Vec<locks::Model>, DbErr> {
        self.list.round_trips.increment(1);
        query.all(self.general_pool()).await
    }
}

/// A condition for mutexes with an active grant, or with one that an open guarded transaction keeps from ending.
fn is_held(now: impl Into<Expr>) -> Condition {
    let is_active = Condition::all()
        .add(locks::Column::Version.is_not_null())
        .add(locks::Column::Released.eq(false))
        .add(locks::Column::ExpiresAtMs.into_expr().gt(now));
    Condition::any().add(is_active).add(locks::Column::Kind.eq(KIND_ENDING_HELD))
}

/// A condition for active permits.
fn is_out(now: impl Into<Expr>) -> Condition {
    Condition::all()
        .add(permits::Column::Released.eq(false))
        .add(permits::Column::ExpiresAtMs.into_expr().gt(now))
}

/// Selects the locks of a tenant that pass a filter, after a key.
fn locks_of(
    tenant: &Tenant,
    filter: &LockFilter,
    after: Option<&Key>,
    now: Timestamp,
) -> Select<locks::Entity> {
    let mut query = keys_of(tenant, MUTEXES, &filter.keys, after);
    if let Some(owner) = &filter.owner {
        let (begin, after) = owner.stored_with_credentials();
        let column = locks::Column::Owner;
        let with_credential = column.gte(begin).and(column.lt(after));
        query = query.filter(is_held(now.0)).filter(column.eq(owner.stored()).or(with_credential));
    }
    match filter.locked {
        Some(true) => query.filter(is_held(now.0)),
        Some(false) => query.filter(is_held(now.0).not()),
        None => query,
    }
}

/// Selects the active permits of a semaphore, after a slot.
fn permits_of(id: &KeyId, after: Option<i32>, now: Timestamp) -> Select<permits::Entity> {
    let query = permits::Entity::find()
        .filter(permits::Column::Tenant.eq(id.tenant.as_str()))
        .filter(permits::Column::Key.eq(id.key.as_str()))
        .filter(is_out(now.0))
        .order_by_asc(permits::Column::Slot);
    match after {
        Some(after) => query.filter(permits::Column::Slot.gt(after)),
        None => query,
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

/// Selects the keys of a tenant after a key, and applies as much of a filter as a query can.
fn keys_of<const N: usize>(
    tenant: &Tenant,
    kinds: [i16; N],
    filter: &KeyFilter,
    after: Option<&Key>,
) -> Select<locks::Entity> {
    let of_patterns = filter.patterns.as_ref().map(KeyPatterns::common_prefix);
    let prefixes = [filter.prefix.as_deref(), of_patterns.as_deref()];
    let mut query = locks::Entity::find()
        .filter(locks::Column::Tenant.eq(tenant.as_str()))
        .filter(locks::Column::Kind.is_in(kinds))
        .order_by_asc(locks::Column::Key);
    for prefix in prefixes.into_iter().flatten() {
        query = query.filter(locks::Column::Key.gte(prefix));
        if let Some(end) = first_after_prefix(prefix) {
            query = query.filter(locks::Column::Key.lt(end));
        }
    }
    if let Some(after) = after {
        query = query.filter(locks::Column::Key.gt(after.as_str()));
    }
    query
}

/// The first text in byte order after all texts that start with the prefix; `None` if there is none. UTF-8 sorts by
/// code point, so the last character is replaced by the next one. Surrogates are skipped, since they are no characters.
fn first_after_prefix(prefix: &str) -> Option<String> {
    let mut end: Vec<char> = prefix.chars().collect();
    while let Some(last) = end.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            end.push(next);
            return Some(end.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::first_after_prefix;

    #[test]
    fn the_end_of_a_prefix_is_the_next_text_in_byte_order() {
        assert_eq!(first_after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(first_after_prefix("a%").as_deref(), Some("a&"));
        assert_eq!(first_after_prefix("\u{D7FF}").as_deref(), Some("\u{E000}"));
        assert_eq!(first_after_prefix("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(first_after_prefix("\u{10FFFF}"), None);
    }
}
