//! Which rows somebody else has locked.

use std::collections::BTreeSet;

use sea_orm::{DbErr, QueryResult, Value};

use super::{
    LoadRequest, StoreError, children::JsonRows, classify::Purpose, dialect::Dialect, replicas::read_id,
    sql::locked, sql_store::SqlStore,
};
use crate::domain::KeyId;

impl SqlStore {
    /// Locks what can be locked at once, for as long as the statement takes: what is there and was left out is locked.
    pub(super) async fn find_locked_rows(&self, ids: &[KeyId]) -> Result<Vec<KeyId>, StoreError> {
        let work = async {
            match self.sql.dialect {
                Dialect::Sqlite => Ok(Vec::new()),
                Dialect::Postgres => {
                    let load_requests: Vec<_> = ids.iter().cloned().map(LoadRequest::new).collect();
                    self.read_ids(locked::POSTGRES, self.keys(&load_requests)).await
                }
                Dialect::MariaDb | Dialect::MySql => {
                    let mut keys = JsonRows::default();
                    for id in ids {
                        keys.row().text(id.tenant.as_str()).text(id.key.as_str()).end();
                    }
                    let keys = Value::from(keys.into_text());
                    let free = self.read_ids(&self.sql.find_free, [keys.clone()]).await?;
                    let free: BTreeSet<_> = free.into_iter().collect();
                    let there = self.read_ids(&self.sql.find_there, [keys]).await?;
                    Ok(there.into_iter().filter(|id| !free.contains(id)).collect())
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
        let rows: Vec<QueryResult> = self.query(self.hot_pool(), &self.load, sql, values).await?;
        rows.iter().map(read_id).collect()
    }
}
