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
    Committed, Want, Write,
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
        let told = self.told(&won, self.hot_pool()).await?;
        Ok(won.committed(writes, told))
    }

    /// The rows of keys as states, and the time.
    pub(super) async fn load_postgres(
        &self,
        pool: &Pool<Postgres>,
        wants: &[Want],
    ) -> Result<ReadStates, DbErr> {
        let mut arguments = PgArguments::default();
        let tenants: Vec<_> = wants.iter().map(|want| want.id.tenant.as_str()).collect();
        let keys: Vec<_> = wants.iter().map(|want| want.id.key.as_str()).collect();
        arguments.add(tenants).and_then(|()| arguments.add(keys)).map_err(|error| unsendable(&error))?;
        self.load.round_trips.increment(1);
        read_states(&pool.fetch(sql::LOAD_ROWS, arguments).await?, wants.len())
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
        writes.iter().all(|write| !write.working.has_children() && write.working.effects.nudged.is_empty());
    if let [write] = writes {
        if quiet {
            let text = if write.prev.is_some() { sql::UPDATE_ONE } else { sql::INSERT_ONE };
            return Ok((text, one(write)?));
        }
        if write.prev.is_some() && write.working.permits.is_empty() {
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
    let working = &write.working;
    let gone = working.waiters.iter().filter(|(_, waiter)| waiter.is_none());
    let mut arguments = one(write)?;
    arguments.add(gone.map(|(seq, _)| *seq).collect::<Vec<i64>>())?;
    arguments.add(standing(write).collect::<Vec<_>>())?;
    let nudged = &working.effects.nudged;
    if nudged.is_empty() {
        return Ok((sql::UPDATE_WITH_WAITERS, arguments));
    }
    arguments.add(nudged.iter().map(|replica| channel_of(replica.0)).collect::<Vec<_>>())?;
    arguments.add(payload_of(working.id.tenant.as_str(), working.id.key.as_str()))?;
    Ok((sql::UPDATE_WITH_WAITERS_AND_NUDGES, arguments))
}

/// Waiters that come or change.
fn standing(write: &Write) -> impl Iterator<Item = WaiterRecord<'_>> {
    write.working.waiters.values().flatten().map(|waiter| WaiterRecord::standing(write, waiter))
}

fn add_children(arguments: &mut PgArguments, writes: &[Write]) -> Result<(), Unsendable> {
    let is_gone = |waiter: &Option<Waiter>| waiter.is_none();
    let gone = writes.iter().flat_map(|write| {
        let gone = write.working.waiters.iter().filter(move |(_, waiter)| is_gone(waiter));
        gone.map(move |(seq, _)| WaiterRecord::gone(write, *seq))
    });
    arguments.add(gone.collect::<Vec<_>>())?;
    arguments.add(writes.iter().flat_map(standing).collect::<Vec<_>>())?;
    let permits = writes
        .iter()
        .flat_map(|write| changed_permits(write).map(move |permit| PermitRecord { write, permit }));
    arguments.add(permits.collect::<Vec<_>>())?;
    let (mut stamps, mut channels, mut payloads) = (Vec::new(), Vec::new(), Vec::new());
    for write in writes {
        let id = &write.working.id;
        for replica in &write.working.effects.nudged {
            stamps.push(write.stamp.0);
            channels.push(channel_of(replica.0));
            payloads.push(payload_of(id.tenant.as_str(), id.key.as_str()));
        }
    }
    arguments.add(stamps)?;
    arguments.add(channels)?;
    arguments.add(payloads)
}
