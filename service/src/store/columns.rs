//! The columns of `locks`, `waiters` and `permits`, taken from their entities. Column lists, assignments and casts of all written
//! out statements are made of them, in the order in which `rows` binds and reads their values.

use db_locks_entity::{locks, permits, waiters};
use sea_orm::{ColumnTrait, ColumnType, EntityTrait, IdenStatic, Iterable};

/// The text of a statement is broken into lines of about this length.
const LINE: usize = 100;
/// The columns of `waiters` that change once a waiter has a row.
const PLACE: [&str; 4] = ["replica", "nonce", "offered_until_ms", "detached_until_ms"];

/// One column.
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Its place in the table, from 1.
    pub(super) number: usize,
    pub(super) kind: ColumnType,
}

impl Column {
    /// The name as PostgreSQL and SQLite read it: `key` is a keyword.
    pub(super) fn quoted(&self) -> &'static str {
        if self.name == "key" { "\"key\"" } else { self.name }
    }
}

/// Some or all columns of a table.
pub(super) struct Columns(Vec<Column>);

impl Columns {
    fn of<E: EntityTrait>() -> Self {
        let column = |(number, column): (usize, E::Column)| Column {
            name: column.as_str(),
            number,
            kind: column.def().get_column_type().clone(),
        };
        Self((1..).zip(E::Column::iter()).map(column).collect())
    }

    pub(super) fn of_locks() -> Self {
        Self::of::<locks::Entity>()
    }

    pub(super) fn of_waiters() -> Self {
        Self::of::<waiters::Entity>()
    }

    pub(super) fn of_permits() -> Self {
        Self::of::<permits::Entity>()
    }

    /// The columns of a key's row that a write sets: all but the key, and the version that the write was decided on.
    pub(super) fn set_by_writes() -> Self {
        Self::of_locks().without(&["tenant", "key", "prev_stamp"])
    }

    /// The columns of a waiter's row that change.
    pub(super) fn set_in_waiters() -> Self {
        let Self(mut columns) = Self::of_waiters();
        columns.retain(|column| PLACE.contains(&column.name));
        Self(columns)
    }

    /// The columns of a permit's row that change.
    pub(super) fn set_in_permits() -> Self {
        Self::of_permits().without(&["tenant", "key", "slot"])
    }

    pub(super) fn without(self, names: &[&str]) -> Self {
        Self(self.0.into_iter().filter(|column| !names.contains(&column.name)).collect())
    }

    /// A text for each column, with commas between.
    pub(super) fn list(&self, text: impl Fn(&Column) -> String) -> String {
        let (mut list, mut line) = (String::new(), 0);
        for column in &self.0 {
            let text = text(column);
            if line + text.len() > LINE {
                list.push_str(",\n    ");
                line = 0;
            } else if !list.is_empty() {
                list.push_str(", ");
            }
            line += text.len() + 2;
            list.push_str(&text);
        }
        list
    }

    /// Their names, on PostgreSQL and SQLite.
    pub(super) fn names(&self) -> String {
        self.list(|column| column.quoted().to_owned())
    }

    /// Assignments from the row that an insert found in its way, on PostgreSQL and SQLite.
    pub(super) fn excluded(&self) -> String {
        self.list(|column| format!("{0} = excluded.{0}", column.name))
    }
}
