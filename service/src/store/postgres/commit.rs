//! Writes a batch to PostgreSQL: one statement, one round trip, one commit. The parameters go to the driver directly, rows as
//! composite types (see `bind`).

use sea_orm::{
    DbErr,
    sqlx::{Arguments, Postgres, postgres::PgArguments},
};

use super::{
    bind::{LockRecord, PermitRecord, Unsendable, WaiterRecord, add_cells, unsendable},
    sql,
};
use crate::store::{
    Committed, Write,
    children::{channel_of, payload_of},
    commit::WrittenRows,
    pool::Pool,
    rows::{LockRow, changed_permits},
    sql_store::SqlStore,
};

impl SqlStore {
    /// Writes a batch whose writes clear no permits. All parts of a statement see the same rows, so one part cannot
    /// insert permits again that another part deletes.
    pub(in super::super) async fn commit_postgres(
        &self,
        pool: &Pool<Postgres>,
        writes: &[Write],
    ) -> Result<Committed, DbErr> {
        let (text, arguments) = statement(writes).map_err(|error| unsendable(&error))?;
        self.commit.round_trips.increment(1);
        let written =
            WrittenRows::read(&pool.fetch(text, arguments, self.pools.epochs.fence(writes)).await?)?;
        let db_time = self.db_time(&written, self.hot_pool()).await?;
        Ok(written.committed(writes, db_time))
    }
}

impl SqlStore {
    /// Writes a single change of a mutex together with its guard row. `None`: nothing was written. It is another
    /// change, or it lost its race, or the guard row is locked or missing.
    pub(in super::super) async fn commit_postgres_guarded(
        &self,
        pool: &Pool<Postgres>,
        writes: &[Write],
    ) -> Result<Option<Committed>, DbErr> {
        let Some(arguments) = guarded(writes).map_err(|error| unsendable(&error))? else { return Ok(None) };
        self.commit.round_trips.increment(1);
        let fence = self.pools.epochs.fence(writes);
        let written = WrittenRows::read(&pool.fetch(&sql::UPDATE_ONE_GUARDED, arguments, fence).await?)?;
        let [write] = writes else { return Ok(None) };
        if written.token(write).is_none() {
            return Ok(None);
        }
        let db_time = self.db_time(&written, self.hot_pool()).await?;
        Ok(Some(written.committed(writes, db_time)))
    }
}

/// The parameters of a change of one mutex and its guard row, and of nothing else; `None` for any other change.
fn guarded(writes: &[Write]) -> Result<Option<PgArguments>, Unsendable> {
    let [write] = writes else { return Ok(None) };
    let row = LockRow::of(write);
    let (Some(edit), true) = (write.change.only_guard_edit(), row.is_known()) else { return Ok(None) };
    let mut arguments = single_row(&row)?;
    arguments.add(edit.slot)?;
    arguments.add(edit.version.map(|version| version.0))?;
    Ok(Some(arguments))
}

/// The simplest statement that writes this batch, and its parameters.
fn statement(writes: &[Write]) -> Result<(&'static str, PgArguments), Unsendable> {
    let is_plain =
        writes.iter().all(|write| !write.change.has_children() && write.change.effects.notified.is_empty());
    if let [write] = writes {
        let row = LockRow::of(write);
        if is_plain {
            let text = if row.is_known() { &*sql::UPDATE_ONE } else { &*sql::INSERT_ONE };
            return Ok((text, single_row(&row)?));
        }
        if row.is_known() && write.change.permits.is_empty() {
            return with_waiters(&row);
        }
    }
    let rows: Vec<_> = writes.iter().map(LockRow::of).collect();
    let (old, new): (Vec<_>, Vec<_>) =
        rows.iter().map(LockRecord).partition(|LockRecord(row)| row.is_known());
    let has_new = !new.is_empty();
    let mut arguments = PgArguments::default();
    arguments.add(old)?;
    if has_new || !is_plain {
        arguments.add(new)?;
    }
    if !is_plain {
        add_children(&mut arguments, writes)?;
    }
    let text = match (is_plain, has_new) {
        (true, false) => &*sql::UPDATE,
        (true, true) => &*sql::UPDATE_AND_INSERT,
        (false, _) => &*sql::UPDATE_AND_INSERT_WITH_CHILDREN,
    };
    Ok((text, arguments))
}

/// The parameters for a single row, one for each column.
fn single_row(row: &LockRow<'_>) -> Result<PgArguments, Unsendable> {
    let mut arguments = PgArguments::default();
    add_cells(&mut arguments, &row.cells())?;
    Ok(arguments)
}

/// The statement and the parameters for a single row and the changes of its queue.
fn with_waiters(row: &LockRow<'_>) -> Result<(&'static str, PgArguments), Unsendable> {
    let change = &row.write.change;
    let mut arguments = single_row(row)?;
    arguments.add(leaving_waiters(row.write).collect::<Vec<_>>())?;
    arguments.add(changed_waiters(row.write).collect::<Vec<_>>())?;
    let notified = &change.effects.notified;
    if notified.is_empty() {
        return Ok((&*sql::UPDATE_WITH_WAITERS, arguments));
    }
    arguments.add(notified.iter().map(|replica| channel_of(replica.0)).collect::<Vec<_>>())?;
    arguments.add(payload_of(&change.id))?;
    Ok((&*sql::UPDATE_WITH_WAITERS_AND_NOTIFICATIONS, arguments))
}

/// Waiters that leave, by their `seq`.
fn leaving_waiters(write: &Write) -> impl Iterator<Item = i64> {
    write.change.waiters.iter().filter(|(_, waiter)| waiter.is_none()).map(|(seq, _)| *seq)
}

/// Waiters that are added or change.
fn changed_waiters(write: &Write) -> impl Iterator<Item = WaiterRecord<'_>> {
    write.change.waiters.values().flatten().map(|waiter| WaiterRecord::Put(write, waiter))
}

fn add_children(arguments: &mut PgArguments, writes: &[Write]) -> Result<(), Unsendable> {
    let gone = |write| leaving_waiters(write).map(move |seq| WaiterRecord::Gone(write, seq));
    arguments.add(writes.iter().flat_map(gone).collect::<Vec<_>>())?;
    arguments.add(writes.iter().flat_map(changed_waiters).collect::<Vec<_>>())?;
    let permits = |write| changed_permits(write).map(move |permit| PermitRecord { write, permit });
    arguments.add(writes.iter().flat_map(permits).collect::<Vec<_>>())?;
    let (mut row_versions, mut channels, mut payloads) = (Vec::new(), Vec::new(), Vec::new());
    for write in writes {
        for replica in &write.change.effects.notified {
            row_versions.push(write.row_version.0);
            channels.push(channel_of(replica.0));
            payloads.push(payload_of(&write.change.id));
        }
    }
    arguments.add(row_versions)?;
    arguments.add(channels)?;
    arguments.add(payloads)
}
