//! What hangs on a key's row, as JSON: one parameter carries any number of rows, and the statement's text stays the same.
//!
//! UUIDs go as 32 hex digits, booleans as 0 and 1: every dialect reads these.

use std::fmt::Write as _;

use uuid::Uuid;

use super::{Write, rows::PlaceColumns};
use crate::domain::{Body, Data, Permit, Waiter};

/// The rows that won writes bring.
#[derive(Debug, Default)]
pub(super) struct Children {
    /// `[tenant, key, seq, stamp]` of waiters that go. The stamp, last in each row, is the one of the write that brings it.
    pub(super) gone: JsonRows,
    /// Waiters that come or change, as in `WAITERS_PUT`.
    pub(super) standing: JsonRows,
    /// Permits that come or change, as in `PERMITS_PUT`.
    pub(super) permits: JsonRows,
    /// `[tenant, key, channel, payload]` of replicas to be told.
    pub(super) nudges: JsonRows,
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
        let (working, stamp) = (&write.working, Some(write.stamp.0));
        let (tenant, key) = (working.id.tenant.as_str(), working.id.key.as_str());
        for (seq, waiter) in &working.waiters {
            match waiter {
                None => self.gone.row().text(tenant).text(key).number(*seq).uuid(stamp).end(),
                Some(waiter) => put_waiter(self.standing.row().text(tenant).text(key), waiter, stamp),
            }
        }
        if let Body::Semaphore(semaphore) = &working.state.body {
            let changed =
                semaphore.permits.known.iter().filter(|permit| working.permits.contains(&permit.slot));
            for permit in changed {
                put_permit(self.permits.row().text(tenant).text(key), permit, stamp);
            }
        }
        for replica in &working.effects.nudged {
            let channel = channel_of(replica.0);
            let payload = payload_of(tenant, key);
            self.nudges.row().text(tenant).text(key).text(&channel).text(&payload).end();
        }
    }
}

fn put_waiter(row: JsonRow<'_>, waiter: &Waiter, stamp: Option<Uuid>) {
    let place = PlaceColumns::of(&waiter.place);
    row.number(waiter.seq)
        .uuid(Some(waiter.version.0))
        .flag(waiter.chosen)
        .text(waiter.owner.as_str())
        .number(waiter.lease_ms)
        .maybe_text(waiter.data.as_ref().map(Data::as_str))
        .flag(waiter.replace_data)
        .flag(waiter.delete_on_release)
        .uuid(place.replica)
        .maybe_number(place.nonce)
        .maybe_number(place.offered_until_ms)
        .maybe_number(place.detached_until_ms)
        .uuid(stamp)
        .end();
}

fn put_permit(row: JsonRow<'_>, permit: &Permit, stamp: Option<Uuid>) {
    let grant = &permit.grant;
    row.number(i64::from(permit.slot))
        .uuid(Some(grant.version.0))
        .flag(grant.chosen)
        .number(grant.token.0)
        .text(grant.owner.as_str())
        .number(grant.lease_ms)
        .number(grant.acquired_at.0)
        .number(grant.expires_at.0)
        .flag(grant.released)
        .number(grant.nonce.0)
        .maybe_text(permit.data.as_ref().map(Data::as_str))
        .number(permit.updated_at.0)
        .uuid(stamp)
        .end();
}

/// The channel on which a replica listens.
pub(super) fn channel_of(replica: Uuid) -> String {
    format!("db_locks_{}", replica.as_simple())
}

/// A key as the text of a notification: JSON, so that nothing in a key is special.
pub(super) fn payload_of(tenant: &str, key: &str) -> String {
    serde_json::json!([tenant, key]).to_string()
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
    pub(super) fn row(&mut self) -> JsonRow<'_> {
        self.0.push_str(if self.0.is_empty() { "[[" } else { ",[" });
        JsonRow { text: &mut self.0, first: true }
    }
}

/// A row that is being written.
pub(super) struct JsonRow<'a> {
    text: &'a mut String,
    first: bool,
}

impl JsonRow<'_> {
    fn comma(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.text.push(',');
        }
    }

    pub(super) fn text(mut self, value: &str) -> Self {
        self.comma();
        // A string becomes JSON without fail.
        self.text.push_str(&serde_json::to_string(value).unwrap_or_default());
        self
    }

    pub(super) fn maybe_text(self, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(value),
            None => self.null(),
        }
    }

    pub(super) fn number(mut self, value: i64) -> Self {
        self.comma();
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{value}");
        self
    }

    pub(super) fn maybe_number(self, value: Option<i64>) -> Self {
        match value {
            Some(value) => self.number(value),
            None => self.null(),
        }
    }

    pub(super) fn flag(self, value: bool) -> Self {
        self.number(i64::from(value))
    }

    pub(super) fn uuid(mut self, value: Option<Uuid>) -> Self {
        let Some(value) = value else { return self.null() };
        self.comma();
        let _ = write!(self.text, "\"{}\"", value.as_simple());
        self
    }

    pub(super) fn bytes(mut self, value: &[u8]) -> Self {
        self.comma();
        self.text.push('"');
        for byte in value {
            let _ = write!(self.text, "{byte:02x}");
        }
        self.text.push('"');
        self
    }

    fn null(mut self) -> Self {
        self.comma();
        self.text.push_str("null");
        self
    }

    pub(super) fn end(self) {
        self.text.push(']');
    }
}
