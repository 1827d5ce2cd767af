//! Guard rows: written in the commit that changes the holder of a guarded key.
//!
//! The row is locked before anything is written to it, without waiting for it: a transaction of a user that called
//! `db_locks_guard` keeps it locked until it ends, for as long as it likes.

mod session;

use sea_orm::{ConnectionTrait, DbErr, Value};

use super::{Write, classify::GUARD_OPEN, commit::Won, sql_store::SqlStore};
use crate::domain::GuardEdit;

impl SqlStore {
    /// Writes the guard rows of the writes that won, inside their transaction. If one of them is locked, the error undoes it.
    pub(super) async fn write_guards(
        &self,
        db: &impl ConnectionTrait,
        writes: &[Write],
        won: &Won,
    ) -> Result<(), DbErr> {
        for write in writes {
            let (Some(edit), Some(token)) = (write.change.guard_edit(), won.token(write)) else { continue };
            self.write_guard(db, write, GuardEdit { token, ..edit }).await?;
        }
        Ok(())
    }

    async fn write_guard(
        &self,
        db: &impl ConnectionTrait,
        write: &Write,
        edit: GuardEdit,
    ) -> Result<(), DbErr> {
        let (sql, id) = (&self.sql.guards, &write.change.id);
        let row = || [id.tenant.as_str().into(), id.key.as_str().into(), Value::from(edit.slot)];
        let named = [Value::from(edit.version.map(|version| version.0)), Value::from(edit.token.0)];
        let values = named.into_iter().chain(row());
        if !self.query(db, &self.commit, &sql.lock, row()).await?.is_empty() {
            return self.execute(db, &self.commit, &sql.update, values).await.map(drop);
        }
        // The key's row is ours by now, so nobody else creates this one.
        if self.query(db, &self.commit, &sql.exists, row()).await?.is_empty() {
            return self.execute(db, &self.commit, &sql.insert, values).await.map(drop);
        }
        Err(DbErr::Custom(GUARD_OPEN.to_owned()))
    }
}
