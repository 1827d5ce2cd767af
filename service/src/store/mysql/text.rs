//! SQL texts that contain their values, as literals that mean the same in every mode of a session.

use std::fmt::{Display, Write as _};

use crate::{
    domain::{KeyId, TOKENS_OF_AN_EPOCH},
    store::rows::{Cell, LockRow},
};

/// The position of the token in a row of `locks`.
const TOKEN: usize = 5;

/// An SQL text that contains its values.
pub(super) struct Text(String);

impl Text {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    pub(super) fn into_sql(self) -> String {
        self.0
    }

    pub(super) fn raw(&mut self, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{value}");
    }

    pub(super) fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        for (number, item) in items.iter().enumerate() {
            if number > 0 {
                self.raw(", ");
            }
            write(self, item);
        }
    }

    pub(super) fn cells<const N: usize>(&mut self, cells: [Cell<'_>; N]) {
        self.raw('(');
        self.list(&cells, |text, cell| text.cell(*cell));
        self.raw(')');
    }

    /// Adds a new row. Its token begins above the floor of its tenant, which the same statement reads.
    pub(super) fn new_row(&mut self, row: &LockRow<'_>) {
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

    /// Adds the condition that a row belongs to this key.
    pub(super) fn of_key(&mut self, id: &KeyId) {
        self.raw("tenant = ");
        self.cell(Cell::Text(Some(id.tenant.as_str())));
        self.raw(" AND `key` = ");
        self.cell(Cell::Text(Some(id.key.as_str())));
    }

    pub(super) fn upsert<const N: usize>(&mut self, insert: &str, rows: &[[Cell<'_>; N]], update: &str) {
        if !rows.is_empty() {
            self.raw(insert);
            self.list(rows, |text, cells| text.cells(*cells));
            self.raw(update);
            self.raw(";\n");
        }
    }

    /// Adds a value. Texts that could end the literal are written as hexadecimal digits.
    pub(super) fn cell(&mut self, cell: Cell<'_>) {
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
