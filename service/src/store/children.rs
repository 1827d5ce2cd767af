//! Queues and permits as JSON: one parameter holds any number of rows, so the statement's text stays the same.
//!
//! UUIDs are written as 32 hex digits and booleans as 0 and 1, which every database reads.

use std::fmt::Write as _;

use uuid::Uuid;

use super::{
    Write,
    rows::{Cell, changed_permits, permit_cells, waiter_cells},
};
use crate::domain::KeyId;

/// Rows of waiters and permits that winning writes change, and notifications to send.
#[derive(Debug, Default)]
pub(super) struct Children {
    /// `[tenant, key, seq]` of waiters that leave.
    pub(super) gone: JsonRows,
    /// Waiters that are added or change, all columns.
    pub(super) put: JsonRows,
    /// Permits that are added or change, all columns.
    pub(super) permits: JsonRows,
    /// `[tenant, key, channel, payload]` of notifications.
    pub(super) notifications: JsonRows,
}

impl Children {
    /// Collects the rows of these writes.
    pub(super) fn of<'a>(writes: impl Iterator<Item = &'a Write>) -> Self {
        let mut children = Self::default();
        for write in writes {
            children.add(write);
        }
        children
    }

    fn add(&mut self, write: &Write) {
        let id = &write.change.id;
        for (seq, waiter) in &write.change.waiters {
            match waiter {
                None => self.gone.row().key(id).cell(Cell::Big(Some(*seq))).end(),
                Some(waiter) => self.put.row().cells(waiter_cells(id, waiter)).end(),
            }
        }
        for permit in changed_permits(write) {
            self.permits.row().cells(permit_cells(id, permit)).end();
        }
        for replica in &write.change.effects.notified {
            let row = self.notifications.row().key(id);
            row.text(&channel_of(replica.0)).text(&payload_of(id)).end();
        }
    }
}

/// The channel on which a replica listens.
pub(super) fn channel_of(replica: Uuid) -> String {
    format!("db_locks_{}", replica.as_simple())
}

/// A key as the text of a notification: JSON, so that no character of a key is special.
pub(super) fn payload_of(id: &KeyId) -> String {
    serde_json::json!([id.tenant.as_str(), id.key.as_str()]).to_string()
}

/// Keys as one JSON text.
pub(super) fn keys_text<'a>(ids: impl IntoIterator<Item = &'a KeyId>) -> String {
    let mut rows = JsonRows::default();
    for id in ids {
        rows.row().key(id).end();
    }
    rows.into_text()
}

/// Slots of keys as one JSON text.
pub(super) fn slots_text<'a>(slots: impl IntoIterator<Item = &'a (KeyId, i32)>) -> String {
    let mut rows = JsonRows::default();
    for (id, slot) in slots {
        rows.row().key(id).cell(Cell::Int(Some(*slot))).end();
    }
    rows.into_text()
}

/// Rows as one JSON array of arrays.
#[derive(Debug, Default)]
pub(super) struct JsonRows(String);

impl JsonRows {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text; `[]` without rows.
    pub(super) fn into_text(mut self) -> String {
        if self.0.is_empty() {
            return "[]".to_owned();
        }
        self.0.push(']');
        self.0
    }

    /// Begins a row.
    fn row(&mut self) -> JsonRow<'_> {
        self.0.push_str(if self.0.is_empty() { "[[" } else { ",[" });
        JsonRow { text: &mut self.0, first: true }
    }
}

/// A row that is being written.
struct JsonRow<'a> {
    text: &'a mut String,
    first: bool,
}

impl JsonRow<'_> {
    fn comma(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.text.push(',');
        }
    }

    /// Adds tenant and key.
    fn key(self, id: &KeyId) -> Self {
        self.text(id.tenant.as_str()).text(id.key.as_str())
    }

    fn text(mut self, value: &str) -> Self {
        self.comma();
        // A string is always valid JSON.
        self.text.push_str(&serde_json::to_string(value).unwrap_or_default());
        self
    }

    /// Adds columns.
    fn cells<const N: usize>(self, cells: [Cell<'_>; N]) -> Self {
        cells.into_iter().fold(self, Self::cell)
    }

    /// Adds a column.
    fn cell(self, cell: Cell<'_>) -> Self {
        match cell {
            Cell::Text(None) | Cell::Uuid(None) | Cell::Int(None) | Cell::Big(None) => self.raw("null"),
            Cell::Text(Some(value)) => self.text(value),
            Cell::Uuid(Some(value)) => self.raw(format_args!("\"{}\"", value.as_simple())),
            Cell::Bytes(value) => {
                value.iter().fold(self.raw('"'), |row, byte| row.more(format_args!("{byte:02x}"))).more('"')
            }
            Cell::Small(value) => self.raw(value),
            Cell::Int(Some(value)) => self.raw(value),
            Cell::Big(Some(value)) => self.raw(value),
            Cell::Flag(value) => self.raw(u8::from(value)),
        }
    }

    /// Adds a value that is JSON already.
    fn raw(mut self, value: impl std::fmt::Display) -> Self {
        self.comma();
        self.more(value)
    }

    fn more(self, value: impl std::fmt::Display) -> Self {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{value}");
        self
    }

    fn end(self) {
        self.text.push(']');
    }
}
