//! Tests with two sessions whether the server's row locks are real.
//!
//! Guards depend on row locks. Tables of another engine (Aria), and some servers that speak another server's protocol,
//! accept the statements and lock nothing.

use sea_orm::{DbErr, Value};
use uuid::Uuid;

use crate::store::{dialect::Dialect, sql_store::SqlStore};

/// Why no lock can be guarded if a row lock keeps nobody away.
const ROW_LOCKS_INEFFECTIVE: &str = "guarding needs locks on rows, and a row that one session locked was not locked for another: is db_locks_guards an InnoDB table?";

impl SqlStore {
    /// Why no lock can be guarded; `None` if a row that one session locks as the guard does cannot be locked by another
    /// one. `None` on SQLite, too, which has one writer at a time.
    pub(in crate::store) async fn try_row_locks(&self) -> Option<String> {
        if self.sql.dialect == Dialect::Sqlite {
            return None;
        }
        // A row of a key that does not exist. If it is left behind, the sweeper removes it.
        #[expect(
            clippy::disallowed_methods,
            reason = "it keeps two trials at a time apart, and identifies nothing"
        )]
        let key = format!("db_locks: trial {}", Uuid::new_v4());
        let real = self.row_locks_exclude(&key).await;
        let id = [Value::from("default"), Value::from(key.as_str())];
        let removed = self.execute(self.general_pool(), &self.sweep, &self.sql.guards.delete_trial, id).await;
        match real.and_then(|real| removed.map(|_| real)) {
            Ok(true) => None,
            Ok(false) => Some(ROW_LOCKS_INEFFECTIVE.to_owned()),
            Err(error) => {
                // The database is out of reach or read-only. Then nothing is granted, either.
                tracing::warn!(%error, "cannot find out whether the server's row locks are real");
                None
            }
        }
    }

    async fn row_locks_exclude(&self, key: &str) -> Result<bool, DbErr> {
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
