//! Guard rows: written in the commit that changes the holder of a guarded key.
//!
//! The row is locked before it is written, and this lock does not wait: a user's transaction that called
//! `db_locks_guard` keeps the row locked until it ends, for as long as it likes.

mod session;
mod trial;

use sea_orm::{ConnectionTrait, DbErr, Value};

use super::{Write, classify::GUARD_OPEN, commit::WrittenRows, sql_store::SqlStore};
use crate::domain::{Body, GuardEdit};

impl SqlStore {
    /// Writes the guard rows of the writes that won, inside their transaction. If a guard row is locked, the error
    /// undoes the transaction.
    pub(super) async fn write_guards(
        &self,
        db: &impl ConnectionTrait,
        writes: &[Write],
        written: &WrittenRows,
    ) -> Result<(), DbErr> {
        for write in writes {
            let Some(raised) = written.token(write) else { continue };
            let mut locked = Vec::new();
            for edit in write.change.guard_edits() {
                // Only a mutex's token may have been raised: a permit's key has a row, and its token was decided above
                // that.
                let token =
                    if matches!(write.change.state.body, Body::Semaphore(_)) { edit.token } else { raised };
                if !self.write_guard(db, write, GuardEdit { token, ..edit }).await? {
                    locked.push(edit.slot.to_string());
                }
            }
            if !locked.is_empty() {
                return Err(DbErr::Custom(format!("{GUARD_OPEN}{}", locked.join(","))));
            }
        }
        Ok(())
    }

    /// Writes one guard row. Returns whether the row could be locked.
    async fn write_guard(
        &self,
        db: &impl ConnectionTrait,
        write: &Write,
        edit: GuardEdit,
    ) -> Result<bool, DbErr> {
        let (sql, id) = (&self.sql.guards, &write.change.id);
        let row = || [id.tenant.as_str().into(), id.key.as_str().into(), Value::from(edit.slot)];
        let named = [Value::from(edit.version.map(|version| version.0)), Value::from(edit.token.0)];
        let values = named.into_iter().chain(row());
        let statement = if !self.query(db, &self.commit, &sql.lock, row()).await?.is_empty() {
            &sql.update
        } else if self.query(db, &self.commit, &sql.exists, row()).await?.is_empty() {
            // This transaction holds the key's row, so nobody else creates this guard row.
            &sql.insert
        } else {
            return Ok(false);
        };
        self.execute(db, &self.commit, statement, values).await?;
        Ok(true)
    }
}
