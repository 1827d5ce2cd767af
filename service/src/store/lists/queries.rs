//! The queries of lists.

use db_locks_entity::{locks, permits};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder, Select, sea_query::Expr,
};

use crate::{
    access::KeyPatterns,
    domain::{Key, KeyId, Tenant, Timestamp},
    store::{
        KeyFilter, LockFilter,
        rows::{KIND_ENDING_HELD, MUTEXES},
    },
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

/// Selects the locks of a tenant that pass a filter, after a key.
pub(super) fn locks_of(
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
pub(super) fn permits_of(id: &KeyId, after: Option<i32>, now: Timestamp) -> Select<permits::Entity> {
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

/// Selects the keys of a tenant after a key, and applies as much of a filter as a query can.
pub(super) fn keys_of<const N: usize>(
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
