//! The trait over SQL: each method is one call into the module that does it.

use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::Value;

use super::{
    Beat, Committed, DecideLocked, HeldCounts, LoadRequest, Loaded, LockFilter, Notifications, Page, Peer,
    PoolUse, Store, StoreError, WaitingRow, Write, classify::Purpose, dialect::Dialect,
    notifications::PgNotifications, sql_store::SqlStore, sqlite::SqliteWriter,
};
use crate::domain::{Key, KeyId, LockView, ReplicaId, SemaphoreView, Tenant, Timestamp};

#[async_trait]
impl Store for SqlStore {
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

    async fn find_locked(&self, ids: &[KeyId]) -> Result<Vec<KeyId>, StoreError> {
        self.find_locked_rows(ids).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.load.run(Purpose::Read, self.read_now(self.hot_pool())).await
    }

    async fn check_ready(&self) -> Result<(), StoreError> {
        self.check_readiness().await
    }

    async fn weak_settings(&self) -> Result<Vec<String>, StoreError> {
        self.find_weak_settings().await
    }

    fn commits_in_parallel(&self) -> bool {
        self.sql.dialect != Dialect::Sqlite
    }

    fn has_other_writers(&self) -> bool {
        self.sqlite.as_ref().is_none_or(SqliteWriter::noticed_others)
    }

    fn connections(&self) -> Vec<PoolUse> {
        self.pools.usage()
    }

    async fn join(&self, me: ReplicaId) -> Result<(), StoreError> {
        self.gate.pass()?;
        self.join_replicas(me).await
    }

    async fn beat(&self, me: ReplicaId) -> Result<Beat, StoreError> {
        self.gate.pass()?;
        self.beat_once(me).await
    }

    async fn peers(&self) -> Result<Vec<Peer>, StoreError> {
        self.list_replicas().await
    }

    async fn part(&self, replica: ReplicaId, beat: Option<i64>) -> Result<(), StoreError> {
        self.gate.pass()?;
        self.part_replica(replica, beat).await
    }

    async fn offers(&self, me: ReplicaId) -> Result<Vec<KeyId>, StoreError> {
        self.query_ids(self.hot_pool(), &self.offers, &self.sql.replicas.offers, [Value::from(me.0)]).await
    }

    async fn count_waiting(&self, me: ReplicaId) -> Result<i64, StoreError> {
        self.count_waiters_of(me).await
    }

    async fn waiting(&self, me: ReplicaId) -> Result<Vec<WaitingRow>, StoreError> {
        self.waiters_of(me).await
    }

    async fn keys_waited_for(&self, replica: ReplicaId, limit: u32) -> Result<Vec<KeyId>, StoreError> {
        let values = [Value::from(replica.0), Value::from(i64::from(limit))];
        self.query_ids(self.membership_pool(), &self.membership, &self.sql.replicas.keys_waited_for, values)
            .await
    }

    async fn unknown_replicas(&self) -> Result<Vec<ReplicaId>, StoreError> {
        self.replicas_without_row().await
    }

    async fn lapsed_places(&self, limit: u32) -> Result<Vec<KeyId>, StoreError> {
        let values = [Value::from(i64::from(limit))];
        self.query_ids(self.general_pool(), &self.sweep, &self.sql.sweep.lapsed_places, values).await
    }

    async fn notifications(&self, me: ReplicaId) -> Result<Option<Box<dyn Notifications>>, StoreError> {
        if self.sql.dialect != Dialect::Postgres {
            return Ok(None);
        }
        let url = match self.options.notify_url() {
            Some(url) => url,
            // Listening is a matter of a session, and behind such a pooler there is none.
            None if self.pools.transaction_pooling => return Ok(None),
            None => self.options.url(),
        };
        Ok(Some(Box::new(PgNotifications::listen(url, me).await?)))
    }

    async fn list_locks(
        &self,
        tenant: &Tenant,
        filter: &LockFilter,
        after: Option<&Key>,
        limit: u32,
    ) -> Result<Page<LockView, Key>, StoreError> {
        self.page_of_locks(tenant, filter, after, limit).await
    }

    async fn list_semaphores(
        &self,
        tenant: &Tenant,
        prefix: Option<&str>,
        after: Option<&Key>,
        limit: u32,
    ) -> Result<Page<SemaphoreView, Key>, StoreError> {
        self.page_of_semaphores(tenant, prefix, after, limit).await
    }

    async fn list_permits(
        &self,
        id: &KeyId,
        after: Option<i32>,
        limit: u32,
    ) -> Result<Page<LockView, i32>, StoreError> {
        self.page_of_permits(id, after, limit).await
    }

    async fn count_held(&self) -> Result<HeldCounts, StoreError> {
        self.count_active().await
    }

    async fn lead_sweep(&self, me: ReplicaId, lease_ms: i64) -> Result<bool, StoreError> {
        self.gate.pass()?;
        self.try_lead_sweep(me, lease_ms).await
    }

    async fn yield_sweep(&self, me: ReplicaId) -> Result<(), StoreError> {
        self.gate.pass()?;
        self.give_sweep_back(me).await
    }

    async fn ended_to_delete(&self, before: Timestamp, limit: u32) -> Result<Vec<KeyId>, StoreError> {
        let values = [Value::from(before.0), Value::from(i64::from(limit))];
        self.query_ids(self.general_pool(), &self.sweep, &self.sql.sweep.ended_to_delete, values).await
    }

    async fn idle_mutexes(
        &self,
        since: Timestamp,
        after: Option<&KeyId>,
        limit: u32,
    ) -> Result<Page<KeyId, KeyId>, StoreError> {
        self.idle_page(since, after, limit).await
    }

    async fn sweep_tombstones(
        &self,
        before: Timestamp,
        settle_ms: i64,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.gate.pass()?;
        self.sweep_old_tombstones(before, settle_ms, limit).await
    }
}
