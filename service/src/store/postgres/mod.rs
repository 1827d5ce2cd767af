//! How a batch is written to PostgreSQL: one statement, one round trip, one commit.
//!
//! The parameters go to the driver as they are, rows as composite types (see `records`), with nothing around each value on
//! the way.

mod notices;
mod records;
mod replication;

use self::records::{LockRecord, PermitRecord, WaiterRecord};
pub(super) use self::replication::Replication;
use super::{
    Committed, LoadRequest, Write,
    cells::{Cell, changed_permits, lock_cells},
    children::{channel_of, payload_of},
    commit::Won,
    load::{ReadStates, read_states},
    pool::Pool,
    rows::LockRow,
    sql::postgres as sql,
    sql_store::SqlStore,
};
use crate::domain::Waiter;
use sea_orm::{
    DbErr,
    sqlx::{Arguments, postgres::PgArguments},
};

/// PostgreSQL's connections for batches.
pub(super) type Postgres = sea_orm::sqlx::Postgres;

impl SqlStore {
    /// Writes a batch whose writes clear no permits: all parts of a statement see the same rows, so what is cleared cannot
    /// be put there anew in the same one.
    pub(super) async fn commit_postgres(
        &self,
        pool: &Pool<Postgres>,
        writes: &[Write],
    ) -> Result<Committed, DbErr> {
        let (text, arguments) = statement(writes).map_err(|error| unsendable(&error))?;
        self.commit.round_trips.increment(1);
        let mut won = Won::default();
        won.read(&pool.fetch(text, arguments).await?)?;
        let db_time = self.db_time(&won, self.hot_pool()).await?;
        Ok(won.committed(writes, db_time))
    }

    /// The rows of keys as states, and the time.
    pub(super) async fn load_postgres(
        &self,
        pool: &Pool<Postgres>,
        load_requests: &[LoadRequest],
    ) -> Result<ReadStates, DbErr> {
        let mut arguments = PgArguments::default();
        let tenants: Vec<_> =
            load_requests.iter().map(|load_request| load_request.id.tenant.as_str()).collect();
        let keys: Vec<_> = load_requests.iter().map(|load_request| load_request.id.key.as_str()).collect();
        arguments.add(tenants).and_then(|()| arguments.add(keys)).map_err(|error| unsendable(&error))?;
        self.load.round_trips.increment(1);
        read_states(&pool.fetch(sql::LOAD_ROWS, arguments).await?, load_requests.len())
    }
}

type Unsendable = Box<dyn std::error::Error + Send + Sync>;

/// What a value's encoding refuses would be refused for good.
fn unsendable(error: &Unsendable) -> DbErr {
    DbErr::Custom(error.to_string())
}

/// The plainest statement that writes this batch, and what goes with it.
fn statement(writes: &[Write]) -> Result<(&'static str, PgArguments), Unsendable> {
    let quiet =
        writes.iter().all(|write| !write.change.has_children() && write.change.effects.notified.is_empty());
    if let [write] = writes {
        if quiet {
            let text = if write.prev.is_some() { sql::UPDATE_ONE } else { sql::INSERT_ONE };
            return Ok((text, one(write)?));
        }
        if write.prev.is_some() && write.change.permits.is_empty() {
            return with_waiters(write);
        }
    }
    let rows: Vec<_> = writes.iter().map(LockRow::of).collect();
    let (old, new): (Vec<_>, Vec<_>) =
        rows.iter().map(LockRecord).partition(|LockRecord(row)| row.prev_stamp.is_some());
    let mut arguments = PgArguments::default();
    arguments.add(old)?;
    if quiet && new.is_empty() {
        return Ok((sql::UPDATE, arguments));
    }
    arguments.add(new)?;
    if quiet {
        return Ok((sql::UPDATE_AND_INSERT, arguments));
    }
    add_children(&mut arguments, writes)?;
    Ok((sql::UPDATE_AND_INSERT_WITH_CHILDREN, arguments))
}

/// A single row, a parameter a column.
fn one(write: &Write) -> Result<PgArguments, Unsendable> {
    let row = LockRow::of(write);
    let mut arguments = PgArguments::default();
    for cell in lock_cells(&row) {
        match cell {
            Cell::Text(value) => arguments.add(value),
            Cell::Uuid(value) => arguments.add(value),
            Cell::Bytes(value) => arguments.add(value),
            Cell::Small(value) => arguments.add(value),
            Cell::Int(value) => arguments.add(value),
            Cell::Big(value) => arguments.add(value),
            Cell::Flag(value) => arguments.add(value),
        }?;
    }
    Ok(arguments)
}

/// A single row, and what changes in its queue.
fn with_waiters(write: &Write) -> Result<(&'static str, PgArguments), Unsendable> {
    let change = &write.change;
    let gone = change.waiters.iter().filter(|(_, waiter)| waiter.is_none());
    let mut arguments = one(write)?;
    arguments.add(gone.map(|(seq, _)| *seq).collect::<Vec<i64>>())?;
    arguments.add(active(write).collect::<Vec<_>>())?;
    let notified = &change.effects.notified;
    if notified.is_empty() {
        return Ok((sql::UPDATE_WITH_WAITERS, arguments));
    }
    arguments.add(notified.iter().map(|replica| channel_of(replica.0)).collect::<Vec<_>>())?;
    arguments.add(payload_of(change.id.tenant.as_str(), change.id.key.as_str()))?;
    Ok((sql::UPDATE_WITH_WAITERS_AND_NOTIFICATIONS, arguments))
}

/// Waiters that come or change.
fn active(write: &Write) -> impl Iterator<Item = WaiterRecord<'_>> {
    write.change.waiters.values().flatten().map(|waiter| WaiterRecord::active(write, waiter))
}

fn add_children(arguments: &mut PgArguments, writes: &[Write]) -> Result<(), Unsendable> {
    let is_gone = |waiter: &Option<Waiter>| waiter.is_none();
    let gone = writes.iter().flat_map(|write| {
        let gone = write.change.waiters.iter().filter(move |(_, waiter)| is_gone(waiter));
        gone.map(move |(seq, _)| WaiterRecord::gone(write, *seq))
    });
    arguments.add(gone.collect::<Vec<_>>())?;
    arguments.add(writes.iter().flat_map(active).collect::<Vec<_>>())?;
    let permits = writes
        .iter()
        .flat_map(|write| changed_permits(write).map(move |permit| PermitRecord { write, permit }));
    arguments.add(permits.collect::<Vec<_>>())?;
    let (mut row_versions, mut channels, mut payloads) = (Vec::new(), Vec::new(), Vec::new());
    for write in writes {
        let id = &write.change.id;
        for replica in &write.change.effects.notified {
            row_versions.push(write.row_version.0);
            channels.push(channel_of(replica.0));
            payloads.push(payload_of(id.tenant.as_str(), id.key.as_str()));
        }
    }
    arguments.add(row_versions)?;
    arguments.add(channels)?;
    arguments.add(payloads)
}
