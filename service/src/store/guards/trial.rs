//! Whether the server's locks on rows are real, tried with two sessions.
//!
//! Guards rest on them. Tables of another engine (Aria), and some servers that speak the protocol of another, take the statements
//! and lock nothing.

use sea_orm::{DbErr, Value};
use uuid::Uuid;

use crate::store::{dialect::Dialect, sql_store::SqlStore};

/// Why no lock can be guarded where a lock on a row keeps nobody away.
const NOT_REAL: &str = "guarding needs locks on rows, and a row that one session locked was not locked for another: is db_locks_guards an InnoDB table?";

impl SqlStore {
    /// Why no lock can be guarded; `None` if a row that one session keeps locked as the guard does cannot be had by another. `SQLite`
    /// has one writer at a time.
    pub(in crate::store) async fn try_row_locks(&self) -> Option<String> {
        if self.sql.dialect == Dialect::Sqlite {
            return None;
        }
        // A row of its own, of a key that is not there: should it be left behind, the sweeper removes it.
        #[expect(
            clippy::disallowed_methods,
            reason = "it keeps two trials at a time apart, and identifies nothing"
        )]
        let key = format!("db_locks: trial {}", Uuid::new_v4());
        let real = self.locks_are_real(&key).await;
        let id = [Value::from("default"), Value::from(key.as_str())];
        let removed =
            self.execute(self.general_pool(), &self.sweep, &self.sql.guards.delete_orphan, id).await;
        match real.and_then(|real| removed.map(|_| real)) {
            Ok(true) => None,
            Ok(false) => Some(NOT_REAL.to_owned()),
            Err(error) => {
                // Out of reach or read-only: then nothing is granted either.
                tracing::warn!(%error, "whether locks on rows are real could not be tried");
                None
            }
        }
    }

    async fn locks_are_real(&self, key: &str) -> Result<bool, DbErr> {
        let sql = &self.sql.guards;
        let row = || [Value::from("default"), Value::from(key), Value::from(0)];
        let values = [Value::from(None::<Uuid>), Value::from(0_i64)].into_iter().chain(row());
        self.execute(self.general_pool(), &self.commit, &sql.insert, values).await?;
        let user = self.begin(self.hot_pool(), &self.commit).await?;
        let result = async {
            self.query(&user, &self.commit, &sql.share, row()).await?;
            let other = self.begin(self.general_pool(), &self.commit).await?;
            let had = self.query(&other, &self.commit, &sql.lock, row()).await;
            other.end(had).await.map(|had| had.is_empty())
        };
        let result = result.await;
        user.end(result).await
    }
}
