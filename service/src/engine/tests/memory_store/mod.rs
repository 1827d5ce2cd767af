//! A database in memory for tests of the engine: conditional writes by row version, a clock of its own, faults on
//! demand.

mod faults;
mod rows;
mod store;
mod tables;
mod views;

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

use tokio::time::Instant;

pub(super) use self::faults::Fault;
use self::tables::Tables;
use crate::{
    domain::{KeyId, KeyState, Place, ReplicaId, Timestamp},
    store::{Committed, Write},
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
    /// Whether no lock can be found whose lease has ended.
    pub(super) hides_ended: AtomicBool,
    /// The number of searches for tombstones.
    pub(super) tombstone_searches: AtomicU64,
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
            hides_ended: false.into(),
            tombstone_searches: AtomicU64::new(0),
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

    /// The number of a replica's waiters that are offered a place.
    pub(super) fn offers_to(&self, replica: ReplicaId) -> usize {
        let offered = |place: Place| matches!(place, Place::Attached { offered_until: Some(_), .. });
        self.waiters_of(replica).into_iter().filter(|(_, waiter)| offered(waiter.place)).count()
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

    fn apply(&self, writes: &[Write]) -> Committed {
        let tokens = self.tables().apply(writes);
        Committed { tokens, db_time: self.clock() }
    }
}
