//! The number of active permits of a semaphore.

use sea_orm::Value;

use super::sql_store::SqlStore;
use crate::domain::Timestamp;

/// The number of slots that one statement reads, at most. A semaphore may have a million, and others wait for a statement that
/// takes seconds.
const SLOTS_AT_ONCE: i32 = 16_384;

/// A statement with its values, whose result is a part of the number.
pub(super) type PartOfCount<'a> = (&'a str, Vec<Value>);

impl SqlStore {
    /// The statements that count the active permits of a semaphore with this many slots, at a time.
    pub(super) fn busy_counts(
        &self,
        [tenant, key]: [&str; 2],
        slots: i32,
        at: Timestamp,
    ) -> impl Iterator<Item = PartOfCount<'_>> {
        let (id, at) = ([tenant, key].map(Value::from), Value::from(at.0));
        let is_small = slots <= SLOTS_AT_ONCE;
        // Of a small one only the active permits are read. Those of a large one may be all over the table in the order of their
        // ends, and its slots are mostly beside each other.
        let small =
            is_small.then(|| (self.sql.count_busy.as_str(), [&id[..], std::slice::from_ref(&at)].concat()));
        let starts = if is_small { 0..0 } else { 0..slots };
        let large = starts.step_by(SLOTS_AT_ONCE.unsigned_abs() as usize).map(move |from| {
            let range = [from, from.saturating_add(SLOTS_AT_ONCE)].map(Value::from);
            (self.sql.count_busy_slots.as_str(), [&id[..], &range, std::slice::from_ref(&at)].concat())
        });
        small.into_iter().chain(large)
    }
}
