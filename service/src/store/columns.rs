//! The columns of `locks`, `waiters` and `permits`, taken from their entities. Hand-written statements build their
//! column lists, assignments and casts with this module, in the order in which `rows` binds and reads the values.

use db_locks_entity::{locks, permits, waiters};
use sea_orm::{ColumnTrait, ColumnType, EntityTrait, IdenStatic, Iterable};

/// Approximate length of a line in the text of a statement.
const LINE_LENGTH: usize = 100;
/// The columns of `waiters` that can change after a row was inserted.
const MUTABLE_WAITER_COLUMNS: [&str; 4] = ["replica", "nonce", "offered_until_ms", "detached_until_ms"];

/// One column.
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Position in the table, from 1.
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

    /// The columns of a key's row that a write sets: all except the key and the row version that the write was decided
    /// on.
    pub(super) fn set_by_writes() -> Self {
        Self::of_locks().without(&["tenant", "key", "prev_stamp"])
    }

    /// The columns of a waiter's row that change.
    pub(super) fn set_in_waiters() -> Self {
        let Self(mut columns) = Self::of_waiters();
        columns.retain(|column| MUTABLE_WAITER_COLUMNS.contains(&column.name));
        Self(columns)
    }

    /// The columns of a permit's row that change.
    pub(super) fn set_in_permits() -> Self {
        Self::of_permits().without(&["tenant", "key", "slot"])
    }

    pub(super) fn without(self, names: &[&str]) -> Self {
        Self(self.0.into_iter().filter(|column| !names.contains(&column.name)).collect())
    }

    /// Formats each column with `text` and joins the results with commas.
    pub(super) fn list(&self, text: impl Fn(&Column) -> String) -> String {
        let (mut list, mut line) = (String::new(), 0);
        for column in &self.0 {
            let text = text(column);
            if line + text.len() > LINE_LENGTH {
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

    /// The column names as PostgreSQL and SQLite read them.
    pub(super) fn names(&self) -> String {
        self.list(|column| column.quoted().to_owned())
    }

    /// Assignments of the values that an insert could not add because the row exists, on PostgreSQL and SQLite.
    pub(super) fn excluded(&self) -> String {
        self.list(|column| format!("{0} = excluded.{0}", column.name))
    }
}
