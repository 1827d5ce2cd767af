//! Settings of the servers that promise less durability than a lock service needs.

use sea_orm::DbErr;

use super::{StoreError, classify::Purpose, dialect::Dialect, sql_store::SqlStore};

impl SqlStore {
    /// Each as a sentence for the log. SQLite's are set by the connection itself.
    pub(super) async fn find_weak_settings(&self) -> Result<Vec<String>, StoreError> {
        let (sql, promised): (&str, &[(&str, &[&str])]) = match self.sql.dialect {
            Dialect::Sqlite => return Ok(Vec::new()),
            Dialect::Postgres => (
                "/* settings */ SELECT name, setting FROM pg_settings \
                 WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')",
                &[
                    ("fsync", &["on"]),
                    ("full_page_writes", &["on"]),
                    ("synchronous_commit", &["on", "remote_apply"]),
                ],
            ),
            Dialect::MariaDb | Dialect::MySql => (
                "/* settings */ SELECT CAST(n.name AS CHAR), CAST(n.value AS CHAR) FROM (\
                 SELECT 'innodb_flush_log_at_trx_commit' AS name, @@innodb_flush_log_at_trx_commit AS value \
                 UNION ALL SELECT 'sync_binlog', IF(@@log_bin, @@sync_binlog, 1)) AS n",
                &[("innodb_flush_log_at_trx_commit", &["1", "3"]), ("sync_binlog", &["1"])],
            ),
        };
        let work = async {
            let rows = self.query(self.general_pool(), &self.membership, sql, []).await?;
            let mut weak = Vec::new();
            for row in &rows {
                let (name, value): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
                let enough = promised.iter().find(|(promised, _)| *promised == name);
                if enough.is_some_and(|(_, values)| !values.contains(&value.as_str())) {
                    weak.push(format!("{name} = {value}"));
                }
            }
            Ok::<_, DbErr>(weak)
        };
        self.membership.run(Purpose::Read, work).await
    }
}
