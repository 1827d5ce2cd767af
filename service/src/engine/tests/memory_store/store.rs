//! The traits of the store for the database in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;

use super::MemoryStore;
use crate::{
    domain::{Epoch, Grant, KeyId, Place, ReplicaId, RequestId, Tenant, Timestamp, Token, Version},
    store::{
        Committed, DecideLocked, GrantPosition, HeartbeatResult, KeyStore, LoadRequest, Loaded,
        Notifications, Page, Peer, ReplicaStore, StoreError, SweepPlace, SweepStore, TombstonePage,
        WaitingRow, WithoutLists, Write,
    },
};

/// A connection on which no notification ever comes.
struct NoNotifications;

#[async_trait]
impl Notifications for NoNotifications {
    async fn next(&mut self) -> Result<Option<KeyId>, StoreError> {
        std::future::pending().await
    }
}

#[async_trait]
impl KeyStore for MemoryStore {
    async fn load(&self, load_requests: &[LoadRequest]) -> Result<Loaded, StoreError> {
        tokio::task::yield_now().await;
        self.reach().await?;
        self.loads.fetch_add(1, Ordering::Relaxed);
        let takes = self.load_ms.load(Ordering::Relaxed);
        if takes > 0 {
            tokio::time::sleep(Duration::from_millis(takes)).await;
        }
        let states = load_requests.iter().map(|load_request| self.read(load_request)).collect();
        Ok(Loaded { states, db_time: self.clock() })
    }

    async fn commit(&self, writes: Arc<Vec<Write>>) -> Result<Committed, StoreError> {
        tokio::task::yield_now().await;
        self.reach().await?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        assert!(
            writes.is_sorted_by(|a, b| a.change.id < b.change.id),
            "writes are sorted, and no key comes twice"
        );
        self.thaw().await?;
        let rows = |write: &Write| 1 + write.change.waiters.len() + write.change.permits.len();
        self.rows.fetch_add(writes.iter().map(rows).sum::<usize>() as u64, Ordering::Relaxed);
        let takes = self.commit_ms.load(Ordering::Relaxed);
        if takes > 0 {
            tokio::time::sleep(Duration::from_millis(takes)).await;
        }
        if self.is_contested.load(Ordering::Relaxed) {
            return Ok(Committed { tokens: vec![None; writes.len()], db_time: self.clock() });
        }
        if self.keeps_guard_rows.load(Ordering::Relaxed)
            && let [write] = writes.as_slice()
            && let edits = write.change.guard_edits()
            && !edits.is_empty()
        {
            return Err(StoreError::GuardOpen(edits.iter().map(|edit| edit.slot).collect()));
        }
        self.meet_fault(writes).await
    }

    async fn commit_locked(
        &self,
        load_requests: &[LoadRequest],
        decide: &mut DecideLocked<'_>,
    ) -> Result<(Vec<Write>, Committed), StoreError> {
        self.reach().await?;
        self.thaw().await?;
        if self.is_contested.load(Ordering::Relaxed) {
            return Err(StoreError::Transient("lock timeout".into()));
        }
        let writes =
            decide(load_requests.iter().map(|load_request| self.view(load_request)).collect(), self.clock());
        let committed = self.apply(&writes);
        Ok((writes, committed))
    }

    async fn find_blocked(&self, ids: &[KeyId]) -> Result<Vec<KeyId>, StoreError> {
        self.reach().await?;
        self.checks.fetch_add(1, Ordering::Relaxed);
        let tables = self.tables();
        let locked = ids.iter().filter(|id| tables.key_locked_until(id, true).is_some());
        Ok(locked.cloned().collect())
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.reach().await?;
        Ok(self.clock())
    }

    async fn check_ready(&self) -> Result<(), StoreError> {
        self.reach().await
    }

    async fn weak_settings(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn commits_in_parallel(&self) -> bool {
        self.has_locked_guard_rows.load(Ordering::Relaxed)
    }

    fn epoch(&self) -> Epoch {
        Epoch::new(self.epoch.load(Ordering::Relaxed)).unwrap_or_default()
    }

    fn has_other_writers(&self) -> bool {
        true
    }
}

#[async_trait]
impl ReplicaStore for MemoryStore {
    async fn join(&self, me: ReplicaId) -> Result<(), StoreError> {
        self.reach().await?;
        self.tables().replicas.insert(me, 0);
        Ok(())
    }

    async fn heartbeat(&self, me: ReplicaId) -> Result<HeartbeatResult, StoreError> {
        tokio::time::sleep(Duration::from_millis(self.beat_ms.load(Ordering::Relaxed))).await;
        self.reach().await?;
        let mut tables = self.tables();
        let known = tables.replicas.get_mut(&me).map(|beat| *beat += 1).is_some();
        let peers = tables.replicas.iter().map(|(&replica, &beat)| Peer { replica, beat }).collect();
        drop(tables);
        Ok(HeartbeatResult { known, peers, db_time: self.clock() })
    }

    async fn peers(&self) -> Result<Vec<Peer>, StoreError> {
        self.reach().await?;
        let tables = self.tables();
        Ok(tables.replicas.iter().map(|(&replica, &beat)| Peer { replica, beat }).collect())
    }

    async fn leave(&self, replica: ReplicaId, beat: Option<i64>) -> Result<(), StoreError> {
        self.reach().await?;
        if self.keeps_replicas.load(Ordering::Relaxed) {
            return Err(StoreError::Transient("deadlock".into()));
        }
        let mut tables = self.tables();
        if beat.is_none() || tables.replicas.get(&replica).copied() == beat {
            tables.replicas.remove(&replica);
        }
        Ok(())
    }

    async fn offers(&self, me: ReplicaId) -> Result<Vec<KeyId>, StoreError> {
        self.reach().await?;
        let offered = |place: Place| matches!(place, Place::Attached { offered_until: Some(_), .. });
        Ok(self
            .waiters_of(me)
            .into_iter()
            .filter(|(_, waiter)| offered(waiter.place))
            .map(|(id, _)| id)
            .collect())
    }

    async fn count_waiting(&self, me: ReplicaId) -> Result<i64, StoreError> {
        tokio::time::sleep(Duration::from_millis(self.count_ms.load(Ordering::Relaxed))).await;
        self.reach().await?;
        Ok(i64::try_from(self.waiters_of(me).len()).unwrap())
    }

    async fn waiting(&self, me: ReplicaId) -> Result<Vec<WaitingRow>, StoreError> {
        self.reach().await?;
        let row = |(id, waiter): (KeyId, crate::domain::Waiter)| match waiter.place {
            Place::Attached { request_id, .. } => {
                Some(WaitingRow { id, version: waiter.holder.version, request_id })
            }
            Place::Detached { .. } => None,
        };
        Ok(self.waiters_of(me).into_iter().filter_map(row).collect())
    }

    async fn keys_waited_for(&self, replica: ReplicaId, _limit: u32) -> Result<Vec<KeyId>, StoreError> {
        self.reach().await?;
        self.reapings.fetch_add(1, Ordering::Relaxed);
        Ok(self.waiters_of(replica).into_iter().map(|(id, _)| id).collect())
    }

    async fn unknown_replicas(&self) -> Result<Vec<ReplicaId>, StoreError> {
        self.reach().await?;
        let tables = self.tables();
        let waiters = tables.keys.values().flat_map(|state| &state.queue.head);
        let of = |place: Place| match place {
            Place::Attached { replica, .. } => Some(replica),
            Place::Detached { .. } => None,
        };
        let known = |replica: &ReplicaId| tables.replicas.contains_key(replica);
        let unknown: std::collections::BTreeSet<_> =
            waiters.filter_map(|waiter| of(waiter.place)).filter(|replica| !known(replica)).collect();
        Ok(unknown.into_iter().collect())
    }

    async fn notifications(&self, _me: ReplicaId) -> Result<Option<Box<dyn Notifications>>, StoreError> {
        let pushes = self.pushes.load(Ordering::Relaxed);
        Ok(pushes.then(|| Box::new(NoNotifications) as Box<dyn Notifications>))
    }
}

impl WithoutLists for MemoryStore {}

#[async_trait]
impl SweepStore for MemoryStore {
    async fn lapsed_places(&self, _limit: u32) -> Result<Vec<KeyId>, StoreError> {
        Ok(Vec::new())
    }

    async fn lead_sweep(&self, me: ReplicaId, _lease_ms: i64) -> Result<bool, StoreError> {
        self.reach().await?;
        Ok(*self.tables().sweeper.get_or_insert(me) == me)
    }

    async fn yield_sweep(&self, me: ReplicaId) -> Result<(), StoreError> {
        self.reach().await?;
        let mut tables = self.tables();
        tables.sweeper = tables.sweeper.filter(|sweeper| *sweeper != me);
        drop(tables);
        Ok(())
    }

    async fn ended_to_delete(
        &self,
        _before: Timestamp,
        _from: SweepPlace,
        _limit: u32,
    ) -> Result<Page<KeyId, SweepPlace>, StoreError> {
        if self.hides_ended.load(Ordering::Relaxed) {
            return Err(StoreError::Transient("it takes too long".into()));
        }
        Ok(Page { items: Vec::new(), next: None })
    }

    /// Only finds permits.
    async fn expired_grants(
        &self,
        before: Timestamp,
        after: Option<&GrantPosition>,
        limit: u32,
    ) -> Result<Page<(KeyId, Version), GrantPosition>, StoreError> {
        self.reach().await?;
        let Some(GrantPosition::Permit(after)) = after else {
            return Ok(Page { items: Vec::new(), next: Some(GrantPosition::Permit(None)) });
        };
        let mut permits = self.permits();
        permits.retain(|(id, permit)| after.as_ref() < Some(&(id.clone(), permit.slot)));
        permits.sort_by_key(|(id, permit)| (id.clone(), permit.slot));
        permits.truncate(limit as usize);
        self.searched.fetch_add(permits.len() as u64, Ordering::Relaxed);
        let last = permits.last().filter(|_| permits.len() == limit as usize);
        let next = last.map(|(id, permit)| GrantPosition::Permit(Some((id.clone(), permit.slot))));
        let is_new = |grant: &Grant| {
            !grant.released && grant.expires_at <= before && grant.request_id != RequestId::EXPIRY_RECORDED
        };
        permits.retain(|(_, permit)| is_new(&permit.grant));
        Ok(Page { items: permits.into_iter().map(|(id, permit)| (id, permit.grant.version)).collect(), next })
    }

    async fn idle_mutexes(
        &self,
        _since: Timestamp,
        _after: Option<&KeyId>,
        _limit: u32,
    ) -> Result<Page<KeyId, KeyId>, StoreError> {
        Ok(Page { items: Vec::new(), next: None })
    }

    async fn sweep_tombstones(
        &self,
        _before: Timestamp,
        _settle_ms: i64,
        _from: SweepPlace,
        _limit: u32,
    ) -> Result<TombstonePage, StoreError> {
        self.tombstone_searches.fetch_add(1, Ordering::Relaxed);
        Ok(TombstonePage::default())
    }

    async fn raise_floors(&self, _floors: &BTreeMap<Tenant, Token>) -> Result<(), StoreError> {
        Ok(())
    }
}
