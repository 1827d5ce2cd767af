//! A database in memory for tests of the engine: conditional writes by row version, a clock of its own, faults on
//! demand.

mod faults;
mod store;
mod tables;

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

pub(super) use self::faults::Fault;
use self::tables::{RowLock, Tables};
use crate::{
    domain::{
        Body, BusyCount, FutureHolder, Grant, KeyId, KeyState, Owner, Permit, Permits, Place, ReplicaId,
        RequestFlags, Timestamp, Token, Waiter, WaiterData,
    },
    engine::ids,
    store::{Committed, LoadKind, LoadRequest, NotLoaded, Unreadable, Write},
};

/// The database. Its clock follows tokio's (paused) time, plus an offset that a test can change.
pub(super) struct MemoryStore {
    tables: Mutex<Tables>,
    started: Instant,
    pub(super) clock_offset_ms: AtomicI64,
    /// The number of the epoch of new tokens.
    pub(super) epoch: AtomicI64,
    pub(super) loads: AtomicU64,
    pub(super) commits: AtomicU64,
    /// The number of checks for locked rows.
    pub(super) checks: AtomicU64,
    /// The number of rows loaded and written, including those of queues.
    pub(super) rows: AtomicU64,
    /// How often a whole queue was counted to find positions in it.
    pub(super) counted_queues: AtomicU64,
    /// The number of permits searched for expired grants.
    pub(super) searched: AtomicU64,
    /// Whether connections are refused.
    pub(super) away: AtomicBool,
    /// Whether connections are neither made nor refused.
    pub(super) is_black_hole: AtomicBool,
    /// Whether every write hangs and is not applied, while reads work.
    pub(super) is_frozen: AtomicBool,
    /// Whether every write loses its race.
    pub(super) is_contested: AtomicBool,
    /// Whether the open transaction of a user keeps all guard rows locked.
    pub(super) keeps_guard_rows: AtomicBool,
    /// Whether others can lock guard rows, so that each change of one is committed alone.
    pub(super) has_locked_guard_rows: AtomicBool,
    /// Whether no row of a replica can be removed.
    pub(super) keeps_replicas: AtomicBool,
    /// The number of queries for the keys that a replica waits for.
    pub(super) reapings: AtomicU64,
    /// The duration of a count of waiters, in milliseconds.
    pub(super) count_ms: AtomicU64,
    /// The duration of a heartbeat, in milliseconds.
    pub(super) beat_ms: AtomicU64,
    /// Whether the database pushes notifications. None ever comes.
    pub(super) pushes: AtomicBool,
    /// The duration of a commit, in milliseconds.
    pub(super) commit_ms: AtomicU64,
    /// The duration of a load, in milliseconds.
    pub(super) load_ms: AtomicU64,
}

impl MemoryStore {
    pub(super) fn new() -> Self {
        Self {
            tables: Mutex::default(),
            started: Instant::now(),
            clock_offset_ms: AtomicI64::new(1_000_000),
            epoch: AtomicI64::new(0),
            loads: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            checks: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            counted_queues: AtomicU64::new(0),
            searched: AtomicU64::new(0),
            away: false.into(),
            is_black_hole: false.into(),
            is_frozen: false.into(),
            is_contested: false.into(),
            keeps_guard_rows: false.into(),
            has_locked_guard_rows: false.into(),
            keeps_replicas: false.into(),
            reapings: AtomicU64::new(0),
            count_ms: AtomicU64::new(0),
            beat_ms: AtomicU64::new(0),
            pushes: false.into(),
            commit_ms: AtomicU64::new(0),
            load_ms: AtomicU64::new(0),
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.catch_up();
        tables
    }

    pub(super) fn fail_next(&self, fault: Fault) {
        self.tables().faults.push_back(fault);
    }

    /// The row of a key as it is now.
    pub(super) fn row(&self, id: &KeyId) -> KeyState {
        self.tables().keys.get(id).cloned().unwrap_or_else(KeyState::absent)
    }

    /// The state of a key as a load returns it.
    fn read(&self, load_request: &LoadRequest) -> Result<KeyState, NotLoaded> {
        if self.tables().corrupt.contains(&load_request.id) {
            return Err(Unreadable("corrupt".into()).into());
        }
        let waiters = self.row(&load_request.id).queue.head.len();
        if waiters > LoadRequest::SHORT_ROWS && load_request.kind == LoadKind::Short {
            return Err(NotLoaded::IsLong);
        }
        Ok(self.view(load_request))
    }

    /// Makes the rows of a key inconsistent.
    pub(super) fn corrupt(&self, id: KeyId) {
        self.tables().corrupt.insert(id);
    }

    /// Keeps a key's row locked for a while or, if not `is_seen`, a row of its queue or its permits.
    pub(super) fn lock_row(&self, id: &KeyId, lasts: Duration, is_seen: bool) {
        let until = Instant::now() + lasts;
        self.tables().locks.push(RowLock { id: id.clone(), until, is_seen });
    }

    /// Makes the head of a queue a waiter of another replica, which is registered and will never send a heartbeat
    /// again.
    pub(super) fn adopt_head(&self, id: &KeyId, dead: ReplicaId) {
        let mut tables = self.tables();
        tables.replicas.entry(dead).or_insert(7);
        let state = tables.keys.get_mut(id).unwrap();
        state.row_version = Some(crate::domain::RowVersion(dead.0));
        if let Place::Attached { replica, .. } = &mut state.queue.head[0].place {
            *replica = dead;
        }
    }

    /// Adds waiters of a replica to the queue of a key. The replica is registered and will never send a heartbeat
    /// again.
    pub(super) fn add_waiters(&self, id: &KeyId, dead: ReplicaId, count: usize) {
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
    pub(super) fn add_ended_permits(&self, id: &KeyId, count: i32) {
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

    /// All permits.
    fn permits(&self) -> Vec<(KeyId, Permit)> {
        let tables = self.tables();
        let of_key = |(id, state): (&KeyId, &KeyState)| match &state.body {
            Body::Semaphore(semaphore) => {
                semaphore.permits.known.iter().map(|permit| (id.clone(), permit.clone())).collect()
            }
            Body::Absent | Body::Mutex(_) => Vec::new(),
        };
        tables.keys.iter().flat_map(of_key).collect()
    }

    /// The number of a replica's waiters that are offered a place.
    pub(super) fn offers_to(&self, replica: ReplicaId) -> usize {
        let offered = |place: Place| matches!(place, Place::Attached { offered_until: Some(_), .. });
        self.waiters_of(replica).into_iter().filter(|(_, waiter)| offered(waiter.place)).count()
    }

    /// Makes all waiters of a queue wait at another replica, which is registered and will never send a heartbeat again.
    pub(super) fn adopt_all(&self, id: &KeyId, dead: ReplicaId) {
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

    /// The sum of the heartbeat counters of all replicas.
    pub(super) fn beats(&self) -> i64 {
        self.tables().replicas.values().sum()
    }

    /// Registers another replica.
    pub(super) fn add_replica(&self, replica: ReplicaId) {
        self.tables().replicas.insert(replica, 1);
    }

    /// Increments the heartbeat counter of another replica.
    pub(super) fn beat_of(&self, replica: ReplicaId) {
        *self.tables().replicas.get_mut(&replica).unwrap() += 1;
    }

    /// All replicas that have a row.
    pub(super) fn replicas(&self) -> Vec<ReplicaId> {
        self.tables().replicas.keys().copied().collect()
    }

    /// The replica that has the sweepers' lease.
    pub(super) fn sweeper(&self) -> Option<ReplicaId> {
        self.tables().sweeper
    }

    /// Removes the row of a replica.
    pub(super) fn forget(&self, replica: ReplicaId) {
        self.tables().replicas.remove(&replica);
    }

    pub(super) fn clock(&self) -> Timestamp {
        let passed = i64::try_from(self.started.elapsed().as_millis()).unwrap();
        Timestamp(self.clock_offset_ms.load(Ordering::Relaxed) + passed)
    }

    /// The view of a key that a server would read. Its rows are counted.
    fn view(&self, load_request: &LoadRequest) -> KeyState {
        let mut state = self.row(&load_request.id);
        let mut rows = 1;
        let behind = state.queue.head.split_off(load_request.queue_prefix.min(state.queue.head.len()));
        let of_replica = |place: &Place| matches!(place, Place::Attached { replica, .. } if Some(*replica) == load_request.waiters_of);
        let mut theirs = 0;
        for (index, waiter) in behind.into_iter().enumerate() {
            let is_theirs = of_replica(&waiter.place) && theirs < LoadRequest::REAPED_AT_ONCE;
            theirs += usize::from(is_theirs);
            if is_theirs || load_request.versions.binary_search(&waiter.holder.version).is_ok() {
                let before =
                    i64::try_from(load_request.queue_prefix + index).ok().filter(|_| load_request.positions);
                state.queue.named.push((waiter, before));
            }
        }
        state.queue.asked.clone_from(&load_request.versions);
        state.queue.leave_data_unread(&load_request.data_of);
        rows += state.queue.head.len() + state.queue.named.len();
        if load_request.positions && !state.queue.named.is_empty() {
            self.counted_queues.fetch_add(1, Ordering::Relaxed);
        }
        if let Body::Semaphore(semaphore) = &mut state.body {
            let all = semaphore.permits.known.len();
            if load_request.counts_permits || semaphore.permits.slots > semaphore.max_size {
                let now = self.clock();
                let is_out = |permit: &&Permit| !permit.grant.released && permit.grant.expires_at > now;
                let busy = i32::try_from(semaphore.permits.known.iter().filter(is_out).count()).unwrap();
                semaphore.permits.busy_counted = Some(BusyCount { busy, at: now });
                rows += all;
            }
            view_permits(&mut semaphore.permits, load_request);
            rows += semaphore.permits.known.len();
        }
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        state
    }

    fn apply(&self, writes: &[Write]) -> Committed {
        let tokens = self.tables().apply(writes);
        Committed { tokens, db_time: self.clock() }
    }

    fn waiters_of(&self, me: ReplicaId) -> Vec<(KeyId, crate::domain::Waiter)> {
        let of_me = |place: &Place| matches!(place, Place::Attached { replica, .. } if *replica == me);
        let tables = self.tables();
        let all = tables
            .keys
            .iter()
            .flat_map(|(id, state)| state.queue.head.iter().map(move |waiter| (id, waiter)));
        all.filter(|(_, waiter)| of_me(&waiter.place))
            .map(|(id, waiter)| (id.clone(), waiter.clone()))
            .collect()
    }
}

/// Keeps the permits that end first and those looked up by version.
fn view_permits(permits: &mut Permits, load_request: &LoadRequest) {
    permits.asked.clone_from(&load_request.versions);
    permits.known.sort_by_key(|permit| (permit.grant.expires_at, permit.slot));
    if permits.known.len() < load_request.permits {
        return;
    }
    let all = permits.known.clone();
    let behind = permits.known.split_off(load_request.permits);
    permits.unknown_from = permits.known.last().map(|permit| permit.grant.expires_at);
    let is_named = |permit: &Permit| load_request.versions.binary_search(&permit.grant.version).is_ok();
    permits.known.extend(behind.into_iter().filter(is_named));
    if load_request.latest_chosen {
        permits.add_latest_chosen(&all);
    }
}
