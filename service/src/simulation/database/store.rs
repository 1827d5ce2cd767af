//! The store traits of the simulated database: one connection for each replica.

use std::sync::Arc;

use async_trait::async_trait;
use rand::Rng;
use tokio::time::Instant;

use super::{
    Database,
    key_rows::KeyRows,
    servers::Session,
    sessions::{NotificationStream, Transaction},
};
use crate::{
    domain::{Epoch, KeyId, Place, ReplicaId, Timestamp, Waiter},
    store::{
        Committed, DecideLocked, HeartbeatResult, KeyStore, LoadKind, LoadRequest, Loaded, NotLoaded,
        Notifications, Peer, ReplicaStore, StoreError, WaitingRow, WithoutLists, Write,
    },
};

/// The most permits and waiters of a key in a short load, few enough that loads of both kinds are simulated.
const SHORT_ROWS: usize = 3;
/// The most keys with permits or waiters in a load.
const KEYS_WITH_CHILDREN: usize = 2;

/// A replica's store.
pub(in super::super) struct Connection {
    pub(super) database: Arc<Database>,
    replica: usize,
    /// The number of the incarnation.
    life: usize,
    pub(super) session: Session,
}

impl Connection {
    pub(in super::super) fn new(database: Arc<Database>, replica: usize, life: usize) -> Arc<Self> {
        Arc::new(Self { database, replica, life, session: Session::default() })
    }
}

/// Whether a waiter is attached at a replica.
fn is_of(waiter: &Waiter, wanted: ReplicaId) -> bool {
    matches!(waiter.place, Place::Attached { replica, .. } if replica == wanted)
}

#[async_trait]
impl KeyStore for Connection {
    async fn load(&self, load_requests: &[LoadRequest]) -> Result<Loaded, StoreError> {
        let database = &self.database;
        let (rows, db_time, server) = database
            .ask(&self.session, || {
                let tables = database.tables();
                let row =
                    |load_request: &LoadRequest| tables.keys.get(&load_request.id).and_then(KeyRows::row);
                let rows: Vec<_> = load_requests.iter().map(row).collect();
                let server = tables.server.number;
                drop(tables);
                (rows, database.clock(), server)
            })
            .await?;
        // Permits and waiters are read after the rows, and may be newer.
        let mut states = Vec::with_capacity(load_requests.len());
        let mut keys_left = KEYS_WITH_CHILDREN;
        for (load_request, row) in load_requests.iter().zip(rows) {
            if database.draw(|random| random.random_bool(0.2)) {
                database.travel().await;
            }
            let rows = database.tables().keys.get(&load_request.id).cloned().unwrap_or_default();
            let children = rows.waiters.len() + rows.permits.len();
            states.push(if children > SHORT_ROWS && load_request.kind == LoadKind::Short {
                Err(NotLoaded::IsLong)
            } else if children > 0 && keys_left == 0 {
                Err(NotLoaded::WasFull)
            } else {
                keys_left -= usize::from(children > 0);
                Ok(rows.view(row, load_request, db_time))
            });
        }
        database.is_there(server)?;
        Ok(Loaded { states, db_time: Timestamp(db_time) })
    }

    async fn commit(&self, writes: Arc<Vec<Write>>) -> Result<Committed, StoreError> {
        if !writes.is_sorted_by(|a, b| a.change.id < b.change.id) {
            self.database.record.fail("a batch is not sorted, or has a key twice".to_owned());
        }
        self.database.carry_out(self.replica, &self.session, &writes).await
    }

    async fn commit_locked(
        &self,
        load_requests: &[LoadRequest],
        decide: &mut DecideLocked<'_>,
    ) -> Result<(Vec<Write>, Committed), StoreError> {
        let database = &self.database;
        let server = database.connect(&self.session).await?;
        database.travel().await;
        database.wait_for_rows(load_requests.iter().map(|load_request| &load_request.id)).await?;
        database.is_there(server)?;
        let (transaction, rows) = Transaction::begin(database, load_requests);
        let db_time = database.clock();
        database.travel().await;
        let states = load_requests
            .iter()
            .zip(&rows)
            .map(|(load_request, rows)| rows.view(rows.row(), load_request, db_time))
            .collect();
        let writes = decide(states, Timestamp(db_time));
        database.travel().await;
        if !transaction.is_active(load_requests) {
            return Err(StoreError::Unknown("the transaction idled for too long".into()));
        }
        if database.happens(database.plan.statements.transient) {
            return Err(StoreError::Transient("deadlock".into()));
        }
        self.session.fence(&writes)?;
        let committed = database.apply(self.replica, &writes)?;
        drop(transaction);
        if database.happens(database.plan.statements.lost_answer) {
            return Err(database.give_up().await);
        }
        database.travel().await;
        Ok((writes, committed))
    }

    async fn find_blocked(&self, ids: &[KeyId]) -> Result<Vec<KeyId>, StoreError> {
        let database = &self.database;
        let is_locked = |id: &&KeyId| database.tables().is_locked(std::iter::once(*id), Instant::now());
        database.ask(&self.session, || ids.iter().filter(is_locked).cloned().collect()).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.database.ask(&self.session, || Timestamp(self.database.clock())).await
    }

    async fn check_ready(&self) -> Result<(), StoreError> {
        // Checks once more that the epoch is valid for the server.
        let session = Session::default();
        session.note(self.session.epoch());
        self.database.connect(&session).await?;
        self.session.note(session.epoch());
        Ok(())
    }

    fn epoch(&self) -> Epoch {
        self.session.epoch()
    }

    async fn weak_settings(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn commits_in_parallel(&self) -> bool {
        true
    }

    fn has_other_writers(&self) -> bool {
        true
    }
}

#[async_trait]
impl ReplicaStore for Connection {
    async fn join(&self, me: ReplicaId) -> Result<(), StoreError> {
        self.database
            .ask(&self.session, || {
                self.database.tables().replicas.insert(me, 0);
                self.database.record.joined(me, self.replica, self.life);
            })
            .await
    }

    async fn heartbeat(&self, me: ReplicaId) -> Result<HeartbeatResult, StoreError> {
        self.database
            .ask(&self.session, || {
                let db_time = Timestamp(self.database.clock());
                let mut tables = self.database.tables();
                let known = tables.replicas.get_mut(&me).map(|beat| *beat += 1).is_some();
                let peers = tables.replicas.iter().map(|(&replica, &beat)| Peer { replica, beat }).collect();
                HeartbeatResult { known, peers, db_time }
            })
            .await
    }

    async fn peers(&self) -> Result<Vec<Peer>, StoreError> {
        self.database
            .ask(&self.session, || {
                let tables = self.database.tables();
                tables.replicas.iter().map(|(&replica, &beat)| Peer { replica, beat }).collect()
            })
            .await
    }

    async fn leave(&self, replica: ReplicaId, beat: Option<i64>) -> Result<(), StoreError> {
        self.database
            .ask(&self.session, || {
                let mut tables = self.database.tables();
                if beat.is_none() || tables.replicas.get(&replica).copied() == beat {
                    tables.replicas.remove(&replica);
                }
            })
            .await
    }

    async fn offers(&self, me: ReplicaId) -> Result<Vec<KeyId>, StoreError> {
        let offered = |place: Place| matches!(place, Place::Attached { offered_until: Some(_), .. });
        let wanted = |waiter: &Waiter| is_of(waiter, me) && offered(waiter.place);
        self.database.ask(&self.session, || self.database.tables().keys_with(wanted)).await
    }

    async fn count_waiting(&self, me: ReplicaId) -> Result<i64, StoreError> {
        let count = || self.database.tables().waiters().filter(|(_, waiter)| is_of(waiter, me)).count();
        self.database.ask(&self.session, || i64::try_from(count()).unwrap_or(i64::MAX)).await
    }

    async fn waiting(&self, me: ReplicaId) -> Result<Vec<WaitingRow>, StoreError> {
        let row = |(id, waiter): (&KeyId, &Waiter)| match waiter.place {
            Place::Attached { replica, request_id, .. } if replica == me => {
                Some(WaitingRow { id: id.clone(), version: waiter.holder.version, request_id })
            }
            Place::Attached { .. } | Place::Detached { .. } => None,
        };
        self.database.ask(&self.session, || self.database.tables().waiters().filter_map(row).collect()).await
    }

    async fn keys_waited_for(&self, replica: ReplicaId, limit: u32) -> Result<Vec<KeyId>, StoreError> {
        self.database
            .ask(&self.session, || {
                let mut keys = self.database.tables().keys_with(|waiter| is_of(waiter, replica));
                keys.truncate(limit as usize);
                keys
            })
            .await
    }

    async fn unknown_replicas(&self) -> Result<Vec<ReplicaId>, StoreError> {
        self.database
            .ask(&self.session, || {
                let tables = self.database.tables();
                let of = |waiter: &Waiter| match waiter.place {
                    Place::Attached { replica, .. } => Some(replica),
                    Place::Detached { .. } => None,
                };
                let unknown: std::collections::BTreeSet<_> = tables
                    .waiters()
                    .filter_map(|(_, waiter)| of(waiter))
                    .filter(|replica| !tables.replicas.contains_key(replica))
                    .collect();
                unknown.into_iter().collect()
            })
            .await
    }

    async fn notifications(&self, me: ReplicaId) -> Result<Option<Box<dyn Notifications>>, StoreError> {
        let database = self.database.clone();
        let pushes = database.plan.pushes;
        self.database
            .ask(&self.session, || {
                let server = database.tables().server.number;
                pushes
                    .then(|| Box::new(NotificationStream { database, me, server }) as Box<dyn Notifications>)
            })
            .await
    }
}

impl WithoutLists for Connection {}
