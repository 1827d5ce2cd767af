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

/// One array a column, for PostgreSQL, in the order of `sql::postgres::UPSERT`.
pub(super) fn arrays(rows: &[LockRow<'_>]) -> Vec<Value> {
    let text =
        |of: &dyn Fn(&LockRow<'_>) -> String| Value::from(rows.iter().map(of).collect::<Vec<String>>());
    let uuid = |of: &dyn Fn(&LockRow<'_>) -> Option<Uuid>| {
        Value::from(rows.iter().map(|row| of(row).unwrap_or_default()).collect::<Vec<Uuid>>())
    };
    let big = |of: &dyn Fn(&LockRow<'_>) -> Option<i64>| {
        Value::from(rows.iter().map(|row| of(row).unwrap_or(ABSENT)).collect::<Vec<i64>>())
    };
    let int = |of: &dyn Fn(&LockRow<'_>) -> i32| Value::from(rows.iter().map(of).collect::<Vec<i32>>());
    let flag = |of: &dyn Fn(&LockRow<'_>) -> bool| Value::from(rows.iter().map(of).collect::<Vec<bool>>());
    vec![
        text(&|row| row.tenant.to_owned()),
        text(&|row| row.key.to_owned()),
        uuid(&|row| Some(row.stamp)),
        uuid(&|row| row.prev_stamp),
        Value::from(rows.iter().map(|row| row.kind).collect::<Vec<i16>>()),
        big(&|row| Some(row.token)),
        text(&|row| row.data.unwrap_or_default().to_owned()),
        flag(&|row| row.data.is_some()),
        uuid(&|row| row.grant.map(|grant| grant.version.0)),
        flag(&|row| row.grant.is_some_and(|grant| grant.chosen)),
        text(&|row| row.grant.map_or_else(String::new, |grant| grant.owner.as_str().to_owned())),
        big(&|row| row.lease_ms),
        big(&|row| row.grant.map(|grant| grant.acquired_at.0)),
        big(&|row| row.grant.map(|grant| grant.expires_at.0)),
        flag(&|row| row.grant.is_some_and(|grant| grant.released)),
        flag(&|row| row.grant.is_some_and(|grant| grant.delete_on_release)),
        big(&|row| row.grant.map(|grant| grant.nonce.0)),
        Value::from(rows.iter().map(|row| row.ended.clone()).collect::<Vec<Vec<u8>>>()),
        int(&|row| row.max_size.unwrap_or_default()),
        int(&|row| row.slots),
        big(&|row| Some(row.waiters)),
        big(&|row| Some(row.next_seq)),
        big(&|row| Some(row.created_at_ms)),
        big(&|row| Some(row.updated_at_ms)),
        big(&|row| row.sweep_at_ms),
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
    let standing: Vec<_> = working.waiters.values().flatten().collect();
    let text = |of: &dyn Fn(&Waiter) -> String| {
        Value::from(standing.iter().map(|waiter| of(waiter)).collect::<Vec<String>>())
    };
    let uuid = |of: &dyn Fn(&Waiter) -> Uuid| {
        Value::from(standing.iter().map(|waiter| of(waiter)).collect::<Vec<Uuid>>())
    };
    let big = |of: &dyn Fn(&Waiter) -> Option<i64>| {
        Value::from(standing.iter().map(|waiter| of(waiter).unwrap_or(ABSENT)).collect::<Vec<i64>>())
    };
    let flag = |of: &dyn Fn(&Waiter) -> bool| {
        Value::from(standing.iter().map(|waiter| of(waiter)).collect::<Vec<bool>>())
    };
    let nudged = &working.effects.nudged;
    let payload = payload_of(working.id.tenant.as_str(), working.id.key.as_str());
    [
        Value::from(gone.map(|(seq, _)| *seq).collect::<Vec<i64>>()),
        big(&|waiter| Some(waiter.seq)),
        uuid(&|waiter| waiter.version.0),
        flag(&|waiter| waiter.chosen),
        text(&|waiter| waiter.owner.as_str().to_owned()),
        big(&|waiter| Some(waiter.lease_ms)),
        text(&|waiter| waiter.data.as_ref().map(Data::as_str).unwrap_or_default().to_owned()),
        flag(&|waiter| waiter.data.is_some()),
        flag(&|waiter| waiter.replace_data),
        flag(&|waiter| waiter.delete_on_release),
        uuid(&|waiter| PlaceColumns::of(&waiter.place).replica.unwrap_or_default()),
        big(&|waiter| PlaceColumns::of(&waiter.place).nonce),
        big(&|waiter| PlaceColumns::of(&waiter.place).offered_until_ms),
        big(&|waiter| PlaceColumns::of(&waiter.place).detached_until_ms),
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
