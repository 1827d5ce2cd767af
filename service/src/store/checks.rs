//! Checks of the database: whether writes would be carried out, and whether its settings make them durable.

use sea_orm::{ConnectionTrait, DbErr};
use tokio::time::Instant;

use super::{
    StoreError,
    classify::{Purpose, classify},
    dialect::Dialect,
    disk::trial,
    schema,
    sql_store::SqlStore,
    writer::AnyPool,
};
use crate::domain::RowVersion;

impl SqlStore {
    /// Whether the database answers, takes writes, and has a schema that this program knows.
    pub(super) async fn check_whether_ready(&self) -> Result<(), StoreError> {
        let work = async {
            let began = Instant::now();
            let checked = schema::check_again(self.membership_pool(), self.sql.dialect).await;
            self.gate.note(began, &checked);
            self.gate.check_file()?;
            checked?;
            self.check_server().await.map_err(|error| classify(error, Purpose::Read))?;
            self.check_disk().await?;
            self.check_file_lock().await
        };
        self.membership.run_classified(Purpose::Read, work).await
    }

    /// Checks the server once more and adopts an epoch that another process raised. The server may have become
    /// read-only. Behind a proxy, open connections may by now lead to another server.
    async fn check_server(&self) -> Result<(), DbErr> {
        let before = self.pools.epochs.current();
        match self.membership_pool() {
            // On SQLite every transaction that writes reads the epoch.
            AnyPool::Sqlite(_) => return Ok(()),
            AnyPool::Postgres(pool) => pool.check_epoch().await?,
            AnyPool::MySql(pool) => pool.check_epoch().await?,
        }
        if self.pools.epochs.current() != before {
            self.pools.health.condemn_connections();
        }
        Ok(())
    }

    /// Whether the disk takes writes. After a write that failed because of it, this makes a trial write once a second at most: no client
    /// may write to a service that is not ready, so no other write would show that it takes them again.
    async fn check_disk(&self) -> Result<(), StoreError> {
        let Some(row_version) = self.disk.to_try()? else { return Ok(()) };
        let tried = self.try_to_write(row_version).await.map_err(|error| classify(error, Purpose::Read));
        self.disk.note(&tried, Some(row_version));
        tried
    }

    /// Whether the lock of a SQLite file can be had, if the last batch did not get it: no client may write to a service that is
    /// not ready, so no other write would show that it is free again.
    async fn check_file_lock(&self) -> Result<(), StoreError> {
        match &self.sqlite {
            Some(sqlite) => sqlite.check_lock().await,
            None => Ok(()),
        }
    }

    /// Makes a trial write without a visible effect: a rolled back row, on SQLite a pragma.
    async fn try_to_write(&self, row_version: RowVersion) -> Result<(), DbErr> {
        let writer = self.begin(self.membership_pool(), &self.membership).await?;
        if self.sql.dialect == Dialect::Sqlite {
            let written = writer.execute_unprepared("PRAGMA user_version = 0").await;
            return writer.end(written.map(drop)).await;
        }
        let written = self.upsert(&writer, &[trial(row_version)]).await;
        let rollback = written.and(Err::<(), _>(DbErr::RecordNotInserted));
        match writer.end(rollback).await {
            Err(DbErr::RecordNotInserted) => Ok(()),
            other => other,
        }
    }

    /// Settings that promise less durability than a lock service needs, each as `name = value` for the log. SQLite has
    /// none: the connections of this program set them.
    pub(super) async fn find_weak_settings(&self) -> Result<Vec<String>, StoreError> {
        let (sql, enough): (&str, &[(&str, &[&str])]) = match self.sql.dialect {
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
                let enough = enough.iter().find(|(setting, _)| *setting == name);
                if enough.is_some_and(|(_, values)| !values.contains(&value.as_str())) {
                    weak.push(format!("{name} = {value}"));
                }
            }
            Ok::<_, DbErr>(weak)
        };
        self.membership.run(Purpose::Read, work).await
    }
}
