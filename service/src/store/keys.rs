//! [`KeyStore`] over SQL. Loading is in `load`, committing in `commit`.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Committed, DecideLocked, KeyStore, LoadRequest, Loaded, PoolUse, StoreError, Write, classify::Purpose,
    dialect::Dialect, sql_store::SqlStore, sqlite::SqliteWriter, traits::BatchLimits,
};
use crate::domain::{Epoch, KeyId, Timestamp};

#[async_trait]
impl KeyStore for SqlStore {
    async fn load(&self, load_requests: &[LoadRequest]) -> Result<Loaded, StoreError> {
        self.load_keys(load_requests).await
    }

    async fn commit(&self, writes: Arc<Vec<Write>>) -> Result<Committed, StoreError> {
        self.gate.pass()?;
        let first = writes.first().map(|write| write.row_version);
        let result = self.commit_writes(writes).await;
        self.disk.note(&result, first);
        result
    }

    async fn commit_locked(
        &self,
        load_requests: &[LoadRequest],
        decide: &mut DecideLocked<'_>,
    ) -> Result<(Vec<Write>, Committed), StoreError> {
        self.gate.pass()?;
        self.commit_under_lock(load_requests, decide).await
    }

    fn epoch(&self) -> Epoch {
        self.pools.epochs.current()
    }

    fn guard_refusal(&self) -> Option<String> {
        self.guard_refusal.clone()
    }

    async fn guarding_session(&self, id: &KeyId, slot: i32, thoroughly: bool) -> Option<String> {
        self.find_guarding_session(id, slot, thoroughly).await
    }

    async fn find_blocked(&self, ids: &[KeyId]) -> Result<Vec<KeyId>, StoreError> {
        self.find_blocked_rows(ids).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.load.run(Purpose::Read, self.read_now(self.hot_pool())).await
    }

    async fn check_ready(&self) -> Result<(), StoreError> {
        self.check_whether_ready().await
    }

    async fn weak_settings(&self) -> Result<Vec<String>, StoreError> {
        self.find_weak_settings().await
    }

    fn commits_in_parallel(&self) -> bool {
        self.sql.dialect != Dialect::Sqlite
    }

    fn batch_limits(&self) -> BatchLimits {
        match self.sql.dialect {
            // MySQL syncs two files one after the other for each commit, and can have a batch at each. A batch of 128
            // keys takes 30 ms there, and larger ones do not write more keys in a second.
            // One with much data takes 100 ms for each MiB.
            Dialect::MySql => {
                BatchLimits { under_way: 3, keys: 128, loses_as_a_whole: true, ..BatchLimits::default() }
            }
            Dialect::MariaDb => BatchLimits { keys: 128, loses_as_a_whole: true, ..BatchLimits::default() },
            Dialect::Sqlite | Dialect::Postgres => BatchLimits::default(),
        }
    }

    fn has_other_writers(&self) -> bool {
        self.sqlite.as_ref().is_none_or(SqliteWriter::noticed_others)
    }

    fn connections(&self) -> Vec<PoolUse> {
        self.pools.usage()
    }
}
