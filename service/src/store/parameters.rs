//! Rows of `locks` as parameters of the conditional upsert: arrays, single values or JSON, as the dialect wants them.

use sea_orm::Value;
use uuid::Uuid;

use super::{
    Write,
    children::{JsonRows, channel_of, payload_of},
    rows::{LockRow, PlaceColumns},
};
use crate::domain::{Data, Waiter};

/// No PostgreSQL array of ours holds NULLs: this stands for an absent number.
const ABSENT: i64 = i64::MIN;

/// Rows whose columns become arrays, for PostgreSQL.
struct Arrays<'r, R>(&'r [R]);

impl<R> Arrays<'_, R> {
    fn column<T>(&self, of: impl Fn(&R) -> T) -> Value
    where
        Value: From<Vec<T>>,
    {
        Value::from(self.0.iter().map(of).collect::<Vec<T>>())
    }

    fn text(&self, of: impl Fn(&R) -> &str) -> Value {
        self.column(|row| of(row).to_owned())
    }

    fn uuid(&self, of: impl Fn(&R) -> Option<Uuid>) -> Value {
        self.column(|row| of(row).unwrap_or_default())
    }

    fn big(&self, of: impl Fn(&R) -> Option<i64>) -> Value {
        self.column(|row| of(row).unwrap_or(ABSENT))
    }
}

/// One array a column, for PostgreSQL, in the order of `sql::postgres::UPSERT`.
pub(super) fn arrays(rows: &[LockRow<'_>]) -> Vec<Value> {
    let rows = Arrays(rows);
    vec![
        rows.text(|row| row.tenant),
        rows.text(|row| row.key),
        rows.uuid(|row| Some(row.stamp)),
        rows.uuid(|row| row.prev_stamp),
        rows.column(|row| row.kind),
        rows.big(|row| Some(row.token)),
        rows.text(|row| row.data.unwrap_or_default()),
        rows.column(|row| row.data.is_some()),
        rows.uuid(|row| row.grant.map(|grant| grant.version.0)),
        rows.column(|row| row.grant.is_some_and(|grant| grant.chosen)),
        rows.text(|row| row.grant.map_or("", |grant| grant.owner.as_str())),
        rows.big(|row| row.lease_ms),
        rows.big(|row| row.grant.map(|grant| grant.acquired_at.0)),
        rows.big(|row| row.grant.map(|grant| grant.expires_at.0)),
        rows.column(|row| row.grant.is_some_and(|grant| grant.released)),
        rows.column(|row| row.grant.is_some_and(|grant| grant.delete_on_release)),
        rows.big(|row| row.grant.map(|grant| grant.nonce.0)),
        rows.column(|row| row.ended.clone()),
        rows.column(|row| row.max_size.unwrap_or_default()),
        rows.column(|row| row.slots),
        rows.big(|row| Some(row.waiters)),
        rows.big(|row| Some(row.next_seq)),
        rows.big(|row| Some(row.created_at_ms)),
        rows.big(|row| Some(row.updated_at_ms)),
        rows.big(|row| row.sweep_at_ms),
    ]
}

/// One value a column, for a single row of PostgreSQL.
pub(super) fn values(row: LockRow<'_>) -> Vec<Value> {
    let grant = row.grant;
    vec![
        Value::from(row.tenant),
        Value::from(row.key),
        Value::from(row.stamp),
        Value::from(row.prev_stamp),
        Value::from(row.kind),
        Value::from(row.token),
        Value::from(row.data),
        Value::from(grant.map(|grant| grant.version.0)),
        Value::from(grant.is_some_and(|grant| grant.chosen)),
        Value::from(grant.map(|grant| grant.owner.as_str())),
        Value::from(row.lease_ms),
        Value::from(grant.map(|grant| grant.acquired_at.0)),
        Value::from(grant.map(|grant| grant.expires_at.0)),
        Value::from(grant.is_some_and(|grant| grant.released)),
        Value::from(grant.is_some_and(|grant| grant.delete_on_release)),
        Value::from(grant.map(|grant| grant.nonce.0)),
        Value::from(row.ended),
        Value::from(row.max_size),
        Value::from(row.slots),
        Value::from(row.waiters),
        Value::from(row.next_seq),
        Value::from(row.created_at_ms),
        Value::from(row.updated_at_ms),
        Value::from(row.sweep_at_ms),
    ]
}

/// What changes in a key's queue, and who is told of it: one array a column, for PostgreSQL, in the order of
/// `sql::postgres::UPDATE_WITH_WAITERS`.
pub(super) fn waiter_arrays(write: &Write) -> impl Iterator<Item = Value> {
    let working = &write.working;
    let gone = working.waiters.iter().filter(|(_, waiter)| waiter.is_none());
    let standing: Vec<&Waiter> = working.waiters.values().flatten().collect();
    let standing = Arrays(&standing);
    let nudged = &working.effects.nudged;
    let payload = payload_of(working.id.tenant.as_str(), working.id.key.as_str());
    [
        Value::from(gone.map(|(seq, _)| *seq).collect::<Vec<i64>>()),
        standing.big(|waiter| Some(waiter.seq)),
        standing.uuid(|waiter| Some(waiter.version.0)),
        standing.column(|waiter| waiter.chosen),
        standing.text(|waiter| waiter.owner.as_str()),
        standing.big(|waiter| Some(waiter.lease_ms)),
        standing.text(|waiter| waiter.data.as_ref().map_or("", Data::as_str)),
        standing.column(|waiter| waiter.data.is_some()),
        standing.column(|waiter| waiter.replace_data),
        standing.column(|waiter| waiter.delete_on_release),
        standing.uuid(|waiter| PlaceColumns::of(&waiter.place).replica),
        standing.big(|waiter| PlaceColumns::of(&waiter.place).nonce),
        standing.big(|waiter| PlaceColumns::of(&waiter.place).offered_until_ms),
        standing.big(|waiter| PlaceColumns::of(&waiter.place).detached_until_ms),
        Value::from(nudged.iter().map(|replica| channel_of(replica.0)).collect::<Vec<String>>()),
        Value::from(nudged.iter().map(|_| payload.clone()).collect::<Vec<String>>()),
    ]
    .into_iter()
}

/// One JSON text, for MariaDB and MySQL.
pub(super) fn json(rows: &[LockRow<'_>]) -> String {
    let mut text = JsonRows::default();
    for row in rows {
        let grant = row.grant;
        text.row()
            .text(row.tenant)
            .text(row.key)
            .uuid(Some(row.stamp))
            .uuid(row.prev_stamp)
            .number(i64::from(row.kind))
            .number(row.token)
            .maybe_text(row.data)
            .uuid(grant.map(|grant| grant.version.0))
            .flag(grant.is_some_and(|grant| grant.chosen))
            .maybe_text(grant.map(|grant| grant.owner.as_str()))
            .maybe_number(row.lease_ms)
            .maybe_number(grant.map(|grant| grant.acquired_at.0))
            .maybe_number(grant.map(|grant| grant.expires_at.0))
            .flag(grant.is_some_and(|grant| grant.released))
            .flag(grant.is_some_and(|grant| grant.delete_on_release))
            .maybe_number(grant.map(|grant| grant.nonce.0))
            .bytes(&row.ended)
            .maybe_number(row.max_size.map(i64::from))
            .number(i64::from(row.slots))
            .number(row.waiters)
            .number(row.next_seq)
            .number(row.created_at_ms)
            .number(row.updated_at_ms)
            .maybe_number(row.sweep_at_ms)
            .end();
    }
    text.into_text()
}
