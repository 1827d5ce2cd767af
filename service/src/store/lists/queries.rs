//! The queries of lists.

use db_locks_entity::{locks, permits};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::Expr,
};

use super::ranges::KeyRange;
use crate::{
    domain::{Key, KeyId, Tenant, Timestamp},
    store::{LockFilter, rows::KIND_ENDING_HELD},
};

/// A condition for mutexes with an active grant, or with one that an open guarded transaction keeps from ending.
pub(super) fn is_held(now: impl Into<Expr>) -> Condition {
    let is_active = Condition::all()
        .add(locks::Column::Version.is_not_null())
        .add(locks::Column::Released.eq(false))
        .add(locks::Column::ExpiresAtMs.into_expr().gt(now));
    Condition::any().add(is_active).add(locks::Column::Kind.eq(KIND_ENDING_HELD))
}

/// A condition for active permits.
pub(super) fn is_out(now: impl Into<Expr>) -> Condition {
    Condition::all()
        .add(permits::Column::Released.eq(false))
        .add(permits::Column::ExpiresAtMs.into_expr().gt(now))
}

/// Keys of a tenant that lie in a range, after a key, and up to another one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span<'s> {
    pub(super) tenant: &'s Tenant,
    pub(super) range: &'s KeyRange,
    pub(super) after: Option<&'s Key>,
    pub(super) up_to: Option<&'s Key>,
}

impl Span<'_> {
    /// Selects the rows with these keys, of all kinds, in the order of the keys. The primary key finds them.
    pub(super) fn rows(self) -> Select<locks::Entity> {
        let mut query = locks::Entity::find()
            .filter(locks::Column::Tenant.eq(self.tenant.as_str()))
            .order_by_asc(locks::Column::Key);
        let after = self.after.filter(|after| after.as_str() >= self.range.begin.as_str());
        if let Some(after) = after {
            query = query.filter(locks::Column::Key.gt(after.as_str()));
        } else if !self.range.begin.is_empty() {
            query = query.filter(locks::Column::Key.gte(&*self.range.begin));
        }
        if let Some(up_to) = self.up_to {
            query = query.filter(locks::Column::Key.lte(up_to.as_str()));
        } else if let Some(end) = &self.range.end {
            query = query.filter(locks::Column::Key.lt(&**end));
        }
        query
    }

    /// Selects these keys. The index of the primary key has them.
    pub(super) fn keys(self) -> Select<locks::Entity> {
        self.rows().select_only().column(locks::Column::Key)
    }
}

/// Selects rows with these keys, in the order of the keys. Some databases prepare a statement for each number of keys, so
/// this number is rounded up.
pub(super) fn with_keys(tenant: &Tenant, keys: &[String]) -> Select<locks::Entity> {
    let last = keys.last().into_iter();
    let padding = last.cycle().take(keys.len().next_power_of_two() - keys.len());
    locks::Entity::find()
        .filter(locks::Column::Tenant.eq(tenant.as_str()))
        .filter(locks::Column::Key.is_in(keys.iter().chain(padding).map(String::as_str)))
        .order_by_asc(locks::Column::Key)
}

/// Adds the conditions of a list, as far as a query can check them. No index has these columns.
pub(super) fn that_pass(
    mut query: Select<locks::Entity>,
    kinds: &[i16],
    filter: &LockFilter,
    now: Timestamp,
) -> Select<locks::Entity> {
    query = query.filter(locks::Column::Kind.is_in(kinds.iter().copied()));
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

/// Selects the rows of a semaphore's slots from one on, in their order. The primary key finds them.
pub(super) fn slots_of(id: &KeyId, from: i32) -> Select<permits::Entity> {
    permits::Entity::find()
        .filter(permits::Column::Tenant.eq(id.tenant.as_str()))
        .filter(permits::Column::Key.eq(id.key.as_str()))
        .filter(permits::Column::Slot.gte(from))
        .order_by_asc(permits::Column::Slot)
}
