//! Rows that tests add to the database in memory, change, or lock.

use std::time::Duration;

use tokio::time::Instant;

use super::{MemoryStore, tables::RowLock};
use crate::{
    domain::{
        Body, FutureHolder, Grant, KeyId, Owner, Permit, Place, ReplicaId, RequestFlags, Token, Waiter,
        WaiterData,
    },
    engine::ids,
};

impl MemoryStore {
    /// Makes the rows of a key inconsistent.
    pub(in super::super) fn corrupt(&self, id: KeyId) {
        self.tables().corrupt.insert(id);
    }

    /// Keeps a key's row locked for a while or, if not `is_seen`, a row of its queue or its permits.
    pub(in super::super) fn lock_row(&self, id: &KeyId, lasts: Duration, is_seen: bool) {
        let until = Instant::now() + lasts;
        self.tables().locks.push(RowLock { id: id.clone(), until, is_seen });
    }

    /// Makes the head of a queue a waiter of another replica, which is registered and will never send a heartbeat
    /// again.
    pub(in super::super) fn adopt_head(&self, id: &KeyId, dead: ReplicaId) {
        let mut tables = self.tables();
        tables.replicas.entry(dead).or_insert(7);
        let state = tables.keys.get_mut(id).unwrap();
        state.row_version = Some(crate::domain::RowVersion(dead.0));
        if let Place::Attached { replica, .. } = &mut state.queue.head[0].place {
            *replica = dead;
        }
    }

    /// Makes all waiters of a queue wait at another replica, which is registered and will never send a heartbeat again.
    pub(in super::super) fn adopt_all(&self, id: &KeyId, dead: ReplicaId) {
        let mut tables = self.tables();
        tables.replicas.entry(dead).or_insert(7);
        let state = tables.keys.get_mut(id).unwrap();
        state.row_version = Some(crate::domain::RowVersion(dead.0));
        for waiter in &mut state.queue.head {
            if let Place::Attached { replica, .. } = &mut waiter.place {
                *replica = dead;
            }
        }
    }

    /// Adds waiters of a replica to the queue of a key. The replica is registered and will never send a heartbeat
    /// again.
    pub(in super::super) fn add_waiters(&self, id: &KeyId, dead: ReplicaId, count: usize) {
        let mut tables = self.tables();
        tables.replicas.entry(dead).or_insert(7);
        let state = tables.keys.get_mut(id).unwrap();
        state.row_version = Some(ids::row_version());
        for _ in 0..count {
            state.queue.push(Waiter {
                seq: state.queue.next_seq,
                holder: FutureHolder {
                    version: ids::version(),
                    chosen: false,
                    owner: Owner::trusted("dead"),
                    lease_ms: 60_000,
                    replace_data: false,
                    delete_on_release: false,
                },
                data: WaiterData::Read(None),
                place: Place::Attached {
                    replica: dead,
                    request_id: ids::request_id(RequestFlags::default()),
                    offered_until: None,
                },
            });
        }
    }

    /// Adds permits to a semaphore whose leases have ended.
    pub(in super::super) fn add_ended_permits(&self, id: &KeyId, count: i32) {
        let now = self.clock();
        let mut tables = self.tables();
        let state = tables.keys.get_mut(id).unwrap();
        state.row_version = Some(ids::row_version());
        let Body::Semaphore(semaphore) = &mut state.body else { panic!("it is a semaphore") };
        for slot in 0..count {
            state.token = Token(state.token.0 + 1);
            let grant = Grant {
                version: ids::version(),
                chosen: false,
                token: state.token,
                owner: Owner::trusted("ended"),
                lease_ms: 1_000,
                acquired_at: now.plus_ms(-2_000),
                expires_at: now.plus_ms(-1_000),
                released: false,
                delete_on_release: false,
                request_id: ids::request_id(RequestFlags::default()),
            };
            semaphore.permits.put(Permit { slot, grant, data: None, updated_at: now.plus_ms(-2_000) });
        }
    }
}
