//! Finds rows that another session keeps locked.

use std::collections::BTreeSet;

use sea_orm::{DbErr, Value};

use super::{
    StoreError, children::keys_text, classify::Purpose, dialect::Dialect, load::key_arrays,
    postgres::sql as postgres, rows::read_id, sql_store::SqlStore,
};
use crate::domain::KeyId;

impl SqlStore {
    /// Locks the rows that can be locked at once, for the duration of the statement. Another session has locked those
    /// rows that exist but were left out.
    pub(super) async fn find_blocked_rows(&self, ids: &[KeyId]) -> Result<Vec<KeyId>, StoreError> {
        let work = async {
            match self.sql.dialect {
                Dialect::Sqlite => Ok(Vec::new()),
                Dialect::Postgres => self.read_ids(&postgres::find_blocked(), key_arrays(ids.iter())).await,
                Dialect::MariaDb | Dialect::MySql => {
                    let keys = Value::from(keys_text(ids));
                    let free = self.read_ids(&self.sql.mysql.find_free, [keys.clone()]).await?;
                    let free: BTreeSet<_> = free.into_iter().collect();
                    let existing = self.read_ids(&self.sql.mysql.find_existing, [keys]).await?;
                    Ok(existing.into_iter().filter(|id| !free.contains(id)).collect())
                }
            }
        };
        self.load.run(Purpose::Read, work).await
    }

    async fn read_ids(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<KeyId>, DbErr> {
        let rows = self.query(self.hot_pool(), &self.load, sql, values).await?;
        rows.iter().map(read_id).collect()
    }
}
