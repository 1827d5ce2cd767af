//! A batch as one text: a whole transaction in one round trip.
//!
//! The text is for the common case that every write wins. Where one does not, or a row that was to be new is there, a statement
//! of the text fails, the server carries out none of the rest, and the transaction is rolled back: nothing was written. Then the
//! batch is written step by step.

use std::fmt::{Display, Write as _};

use super::sql::{READ_BACK, name};
use crate::{
    domain::{KeyId, TOKENS_OF_AN_EPOCH},
    store::{
        children::keys_text,
        columns::{Column, Columns},
        dialect::Dialect,
        rows::{Cell, LockRow, changed_permits, permit_cells, waiter_cells},
    },
};

/// The largest number; one more is an error, which ends the text.
const FAIL: i64 = i64::MAX;

/// A longer text is not sent: the server's limit may be 16 MiB.
const LONGEST: usize = 8 << 20;

/// The position of the token in a row of `locks`.
const TOKEN: usize = 5;

/// The parts of the text that are the same for every batch.
#[derive(Debug)]
pub(in super::super) struct BatchSql {
    /// Up to the list of rows.
    insert_rows: String,
    /// Behind the list of rows that exist, up to the number that `ROW_COUNT` must have.
    update_known: String,
    /// Around the keys of rows that were new.
    read_back: (String, String),
    insert_waiters: String,
    update_waiters: String,
    insert_permits: String,
    update_permits: String,
}

impl BatchSql {
    pub(in super::super) fn new(dialect: Dialect) -> Self {
        // MySQL warns of `VALUES()` each time, which takes as long as carrying the assignment out.
        let is_mysql = dialect == Dialect::MySql;
        let alias = if is_mysql { " AS n" } else { "" };
        let new = |column: &str| if is_mysql { format!("n.{column}") } else { format!("VALUES({column})") };
        let insert = |table: &str, columns: &Columns| {
            format!("INSERT INTO {table} (\n    {})\nVALUES\n    ", columns.list(name))
        };
        let update = |columns: &Columns| {
            let assign = |column: &Column| format!("{} = {}", column.name, new(column.name));
            format!("{alias}\nON DUPLICATE KEY UPDATE\n    {}", columns.list(assign))
        };
        let rows = Columns::set_by_writes().without(&["stamp"]);
        let stamp = format!(
            "stamp = IF(locks.stamp = {}, {}, {FAIL} + locks.kind + 3)",
            new("prev_stamp"),
            new("stamp")
        );
        let all_won = format!("SELECT NULL, 0, {}, {FAIL} + (ROW_COUNT() <> ", dialect.now());
        let read_back = dialect.sql(READ_BACK);
        let (before, after) = read_back.split_once('?').unwrap_or((&read_back, ""));
        Self {
            insert_rows: format!("/* commit */\n{}", insert("locks", &Columns::of_locks())),
            update_known: format!("{},\n    {stamp};\n{all_won}", update(&rows)),
            read_back: (before.to_owned(), after.to_owned()),
            insert_waiters: insert("waiters", &Columns::of_waiters()),
            update_waiters: update(&Columns::set_in_waiters()),
            insert_permits: insert("permits", &Columns::of_permits()),
            update_permits: update(&Columns::set_in_permits()),
        }
    }

    /// The transaction that writes these rows with their queues and permits; `None` where its text would be too long.
    pub(super) fn transaction(&self, rows: &[LockRow<'_>]) -> Option<String> {
        let mut text = Text(String::with_capacity(rows.len() * 600 + 2_000));
        text.raw("START TRANSACTION;\n");
        let (known, new): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.is_known());
        if !known.is_empty() {
            text.raw(&self.insert_rows);
            text.list(&known, |text, row| text.cells(row.cells()));
            text.raw(&self.update_known);
            // A row that was updated counts twice, a row that was created once.
            text.raw(known.len() * 2);
            text.raw(");\n");
        }
        if !new.is_empty() {
            text.raw(&self.insert_rows);
            text.list(&new, |text, row| text.new_row(row));
            text.raw(";\n");
            text.raw(&self.read_back.0);
            text.cell(Cell::Text(Some(&keys_text(new.iter().map(|row| &row.write.change.id)))));
            text.raw(&self.read_back.1);
            text.raw(";\n");
        }
        self.add_children(&mut text, rows);
        text.raw("COMMIT");
        (text.0.len() <= LONGEST).then_some(text.0)
    }

    /// The parts, for review.
    #[cfg(test)]
    pub(in super::super) fn parts(&self) -> [String; 3] {
        let read_back = format!("{}?{}", self.read_back.0, self.read_back.1);
        [
            format!("{}(?)\n{}?);\n{read_back}", self.insert_rows, self.update_known),
            format!("{}(?)\n{}", self.insert_waiters, self.update_waiters),
            format!("{}(?)\n{}", self.insert_permits, self.update_permits),
        ]
    }

    fn add_children(&self, text: &mut Text, rows: &[LockRow<'_>]) {
        let (mut waiters, mut permits) = (Vec::new(), Vec::new());
        for LockRow { write, .. } in rows {
            let id = &write.change.id;
            if write.change.clear_permits {
                text.delete("permits", id);
                text.raw(";\n");
            }
            let gone = write.change.waiters.iter().filter(|(_, waiter)| waiter.is_none());
            let gone = gone.map(|(seq, _)| *seq).collect::<Vec<_>>();
            if !gone.is_empty() {
                text.delete("waiters", id);
                text.raw(" AND seq IN (");
                text.list(&gone, |text, seq| text.raw(seq));
                text.raw(");\n");
            }
            waiters.extend(write.change.waiters.values().flatten().map(|waiter| waiter_cells(id, waiter)));
            permits.extend(changed_permits(write).map(|permit| permit_cells(id, permit)));
        }
        text.upsert(&self.insert_waiters, &waiters, &self.update_waiters);
        text.upsert(&self.insert_permits, &permits, &self.update_permits);
    }
}

/// SQL with its values written out.
struct Text(String);

impl Text {
    fn raw(&mut self, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{value}");
    }

    fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        for (number, item) in items.iter().enumerate() {
            if number > 0 {
                self.raw(", ");
            }
            write(self, item);
        }
    }

    fn cells<const N: usize>(&mut self, cells: [Cell<'_>; N]) {
        self.raw('(');
        self.list(&cells, |text, cell| text.cell(*cell));
        self.raw(')');
    }

    /// A row whose token begins above the floor of its tenant, which is read in this very statement.
    fn new_row(&mut self, row: &LockRow<'_>) {
        self.raw('(');
        for (number, cell) in row.cells().into_iter().enumerate() {
            if number > 0 {
                self.raw(", ");
            }
            if number != TOKEN {
                self.cell(cell);
                continue;
            }
            self.raw("GREATEST(");
            self.cell(cell);
            self.raw(", ");
            self.cell(cell);
            self.raw(format_args!(
                " % {TOKENS_OF_AN_EPOCH} + COALESCE((SELECT f.`floor` FROM token_floors f WHERE f.tenant = "
            ));
            self.cell(Cell::Text(Some(row.write.change.id.tenant.as_str())));
            self.raw("), 0))");
        }
        self.raw(')');
    }

    fn delete(&mut self, table: &str, id: &KeyId) {
        self.raw(format_args!("DELETE FROM {table} WHERE tenant = "));
        self.cell(Cell::Text(Some(id.tenant.as_str())));
        self.raw(" AND `key` = ");
        self.cell(Cell::Text(Some(id.key.as_str())));
    }

    fn upsert<const N: usize>(&mut self, insert: &str, rows: &[[Cell<'_>; N]], update: &str) {
        if !rows.is_empty() {
            self.raw(insert);
            self.list(rows, |text, cells| text.cells(*cells));
            self.raw(update);
            self.raw(";\n");
        }
    }

    /// A value. Texts in which anything could end the literal are written as hexadecimal digits.
    fn cell(&mut self, cell: Cell<'_>) {
        match cell {
            Cell::Text(None) | Cell::Uuid(None) | Cell::Int(None) | Cell::Big(None) => self.raw("NULL"),
            Cell::Text(Some(value)) if value.bytes().all(is_plain) => self.raw(format_args!("'{value}'")),
            Cell::Text(Some(value)) => {
                self.raw("_utf8mb4 ");
                self.bytes(value.as_bytes());
            }
            Cell::Uuid(Some(value)) => self.raw(format_args!("x'{}'", value.as_simple())),
            Cell::Bytes(value) => self.bytes(value),
            Cell::Small(value) => self.raw(value),
            Cell::Int(Some(value)) => self.raw(value),
            Cell::Big(Some(value)) => self.raw(value),
            Cell::Flag(value) => self.raw(u8::from(value)),
        }
    }

    fn bytes(&mut self, value: &[u8]) {
        self.raw("x'");
        for byte in value {
            self.raw(format_args!("{byte:02x}"));
        }
        self.raw('\'');
    }
}

/// Whether a byte of a text means itself within quotes, whatever the session's modes are.
const fn is_plain(byte: u8) -> bool {
    !matches!(byte, b'\'' | b'\\' | 0..=31 | 127)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(cell: Cell<'_>) -> String {
        let mut text = Text(String::new());
        text.cell(cell);
        text.0
    }

    #[test]
    fn no_text_can_end_its_literal() {
        assert_eq!(literal(Cell::Text(Some("deploy/ä"))), "'deploy/ä'");
        assert_eq!(literal(Cell::Text(Some("a'; DROP"))), "_utf8mb4 x'61273b2044524f50'");
        assert_eq!(literal(Cell::Text(Some("\\"))), "_utf8mb4 x'5c'");
        assert_eq!(literal(Cell::Text(Some("a\nb"))), "_utf8mb4 x'610a62'");
        assert_eq!(literal(Cell::Text(Some(""))), "''");
    }
}
