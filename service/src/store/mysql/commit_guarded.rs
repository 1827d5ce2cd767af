//! Writes a single change of a guarded mutex to MariaDB: see `guards`.

use std::sync::Arc;

use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{self, MySql},
};

use super::{
    error_number,
    guards::{COMMITTED, GUARD_LOCKED, arguments},
};
use crate::{
    domain::Timestamp,
    store::{
        Write,
        classify::{GUARD_OPEN, is_transient},
        commit::WrittenRows,
        pool::Pool,
        rows::Row,
        sql_store::SqlStore,
    },
};

/// The errors of a statement that was interrupted, by a person or by its time limit.
const INTERRUPTED: [u16; 2] = [1317, 1969];

impl SqlStore {
    /// Writes a single change of a mutex together with its guard row. `None`: nothing was written. It is another
    /// change, or the server asks to try again.
    pub(super) async fn commit_mariadb_guarded(
        &self,
        pool: &Pool<MySql>,
        writes: &[Write],
    ) -> Result<Option<WrittenRows>, DbErr> {
        let arguments = arguments(writes).map_err(|error| DbErr::Custom(error.to_string()))?;
        let (Some(sql), Some(arguments)) = (&self.sql.mysql.commit_guarded, arguments) else {
            return Ok(None);
        };
        self.commit.round_trips.increment(1);
        let fence = self.pools.epochs.fence(writes);
        let answer = pool.fetch_transaction(sql.clone(), arguments, fence).await.map_err(unless_committed);
        let answer = match answer {
            Err(error) if is_transient(&error) => return Ok(None),
            answer => answer?,
        };
        let row = answer.first().ok_or_else(|| DbErr::Custom("a commit was not answered".to_owned()))?;
        let (outcome, db_time): (i64, i64) = (row.read(0)?, row.read(1)?);
        if outcome == GUARD_LOCKED {
            return Err(DbErr::Custom(format!("{GUARD_OPEN}0")));
        }
        let mut written = WrittenRows::default();
        written.add_all(writes.iter().filter(|_| outcome == COMMITTED), Timestamp(db_time));
        Ok(Some(written))
    }
}

/// The error of a whole transaction in one statement. If the statement was interrupted, that may have been after the
/// commit: then the outcome is unknown.
pub(super) fn unless_committed(error: DbErr) -> DbErr {
    if error_number(&error).is_some_and(|number| INTERRUPTED.contains(&number)) {
        let unknown = std::io::Error::other(error.to_string());
        return DbErr::Query(RuntimeErr::SqlxError(Arc::new(sqlx::Error::Io(unknown))));
    }
    error
}
