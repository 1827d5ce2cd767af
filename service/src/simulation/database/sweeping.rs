//! The queries and changes of the sweeper: ended grants, idle locks, tombstones and the floors of tokens.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{key_rows::KeyRows, store::Connection, tables::Tables};
use crate::{
    domain::{Body, KeyId, Place, ReplicaId, Tenant, Timestamp, Token, Version},
    store::{GrantPosition, Page, StoreError, SweepPlace, SweepStore, TombstonePage},
};

impl KeyRows {
    /// When a tombstone was written; `None` for other rows.
    fn tombstone_since(&self) -> Option<Timestamp> {
        let row = self.row.as_ref()?;
        (matches!(row.body, Body::Absent) && self.waiters.is_empty()).then_some(row.updated_at)
    }
}

impl Tables {
    pub(super) fn lead_sweep(&mut self, me: ReplicaId, lease_ms: i64, clock: i64) -> bool {
        let free = self.sweep_lease.is_none_or(|(leader, until)| leader == me || until <= clock);
        if free {
            self.sweep_lease = Some((me, clock + lease_ms));
        }
        free
    }

    pub(super) fn yield_sweep(&mut self, me: ReplicaId) {
        self.sweep_lease = self.sweep_lease.filter(|(leader, _)| *leader != me);
    }

    /// Mutexes that are deleted with their ended grant.
    pub(super) fn ended_to_delete(&self, before: Timestamp) -> Vec<KeyId> {
        let goes = |rows: &KeyRows| match rows.row.as_ref().map(|row| &row.body) {
            Some(Body::Mutex(mutex)) => mutex.grant.as_ref().is_some_and(|grant| {
                grant.delete_on_release && !grant.released && grant.expires_at <= before
            }),
            _ => false,
        };
        self.keys.iter().filter(|(_, rows)| goes(rows)).map(|(id, _)| id.clone()).collect()
    }

    /// Free mutexes that nobody used.
    pub(super) fn idle_mutexes(&self, since: Timestamp, clock: i64) -> Vec<KeyId> {
        let idle = |rows: &KeyRows| match rows.row.as_ref() {
            Some(row) => match &row.body {
                Body::Mutex(mutex) => {
                    let held = mutex.grant.as_ref();
                    let held = held.is_some_and(|grant| grant.is_active_at(Timestamp(clock)));
                    !held && row.updated_at <= since && rows.waiters.is_empty()
                }
                Body::Absent | Body::Semaphore(_) => false,
            },
            None => false,
        };
        self.keys.iter().filter(|(_, rows)| idle(rows)).map(|(id, _)| id.clone()).collect()
    }

    /// Removes settled tombstones, and finds the floors that the others need.
    pub(super) fn sweep_tombstones(
        &mut self,
        before: Timestamp,
        settle_ms: i64,
        clock: i64,
    ) -> TombstonePage {
        for floor in self.floors.values_mut() {
            if floor.settled < floor.height && floor.raised_at <= clock - settle_ms {
                floor.settled = floor.height;
            }
        }
        let old = |rows: &KeyRows| rows.tombstone_since().is_some_and(|since| since <= before);
        let tokens = |rows: &KeyRows| rows.row.as_ref().map_or(0, |row| row.token.0);
        let settled = |id: &KeyId| self.floors.get(&id.tenant).map_or(i64::MIN, |floor| floor.settled);
        let removed: Vec<KeyId> = self
            .keys
            .iter()
            .filter(|(id, rows)| old(rows) && tokens(rows) <= settled(id))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &removed {
            self.keys.remove(id);
        }
        let mut floors = BTreeMap::new();
        for (id, rows) in self.keys.iter().filter(|(_, rows)| old(rows)) {
            let floor = floors.entry(id.tenant.clone()).or_insert(Token(0));
            floor.0 = floor.0.max(tokens(rows));
        }
        TombstonePage { removed, floors, next: None }
    }

    pub(super) fn raise_floors(&mut self, floors: &BTreeMap<Tenant, Token>, clock: i64) {
        for (tenant, wanted) in floors {
            let floor = self.floors.entry(tenant.clone()).or_default();
            if floor.height < wanted.0 && floor.settled == floor.height {
                (floor.height, floor.raised_at) = (wanted.0, clock);
            }
        }
    }
}

#[async_trait]
impl SweepStore for Connection {
    async fn lapsed_places(&self, limit: u32) -> Result<Vec<KeyId>, StoreError> {
        self.database
            .ask(&self.session, || {
                let clock = self.database.clock();
                let lapsed = |place: Place| matches!(place, Place::Detached { until } if until.0 <= clock);
                let mut keys = self.database.tables().keys_with(|waiter| lapsed(waiter.place));
                keys.truncate(limit as usize);
                keys
            })
            .await
    }

    async fn lead_sweep(&self, me: ReplicaId, lease_ms: i64) -> Result<bool, StoreError> {
        self.database
            .ask(&self.session, || {
                let clock = self.database.clock();
                self.database.tables().lead_sweep(me, lease_ms, clock)
            })
            .await
    }

    async fn yield_sweep(&self, me: ReplicaId) -> Result<(), StoreError> {
        self.database.ask(&self.session, || self.database.tables().yield_sweep(me)).await
    }

    async fn ended_to_delete(
        &self,
        before: Timestamp,
        _from: SweepPlace,
        _limit: u32,
    ) -> Result<Page<KeyId, SweepPlace>, StoreError> {
        self.database
            .ask(&self.session, || Page { items: self.database.tables().ended_to_delete(before), next: None })
            .await
    }

    async fn unfinished_releases(&self, _limit: u32) -> Result<Vec<KeyId>, StoreError> {
        self.database.ask(&self.session, || self.database.tables().unfinished_releases()).await
    }

    async fn expired_grants(
        &self,
        _before: Timestamp,
        _after: Option<&GrantPosition>,
        _limit: u32,
    ) -> Result<Page<(KeyId, Version), GrantPosition>, StoreError> {
        Ok(Page { items: Vec::new(), next: None })
    }

    async fn idle_mutexes(
        &self,
        since: Timestamp,
        _after: Option<&KeyId>,
        _limit: u32,
    ) -> Result<Page<KeyId, KeyId>, StoreError> {
        self.database
            .ask(&self.session, || {
                let clock = self.database.clock();
                Page { items: self.database.tables().idle_mutexes(since, clock), next: None }
            })
            .await
    }

    async fn sweep_tombstones(
        &self,
        before: Timestamp,
        settle_ms: i64,
        _from: SweepPlace,
        _limit: u32,
    ) -> Result<TombstonePage, StoreError> {
        self.database
            .ask(&self.session, || {
                let clock = self.database.clock();
                let page = self.database.tables().sweep_tombstones(before, settle_ms, clock);
                for id in &page.removed {
                    self.database.record.swept(id);
                }
                page
            })
            .await
    }

    async fn raise_floors(&self, floors: &BTreeMap<Tenant, Token>) -> Result<(), StoreError> {
        self.database
            .ask(&self.session, || {
                let clock = self.database.clock();
                self.database.tables().raise_floors(floors, clock);
            })
            .await
    }
}
