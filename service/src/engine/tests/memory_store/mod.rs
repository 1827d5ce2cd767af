//! A database in memory for tests of the engine: conditional writes by stamp, a clock of its own, faults on demand.

mod faults;
mod store;
mod tables;

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

use tokio::time::Instant;

pub(super) use self::faults::Fault;
use self::tables::Tables;
use crate::{
    domain::{KeyId, KeyState, Owner, Place, ReplicaId, Timestamp, Waiter},
    engine::chance,
    store::{Committed, Unreadable, Write},
};

/// The database. Its clock goes with tokio's (paused) time, plus what a test adds.
pub(super) struct MemoryStore {
    tables: Mutex<Tables>,
    started: Instant,
    pub(super) clock_offset_ms: AtomicI64,
    pub(super) loads: AtomicU64,
    pub(super) commits: AtomicU64,
    /// Connections are refused.
    pub(super) away: AtomicBool,
    /// Connections are neither made nor refused.
    pub(super) is_black_hole: AtomicBool,
    /// It reads, and every write hangs, and is not applied.
    pub(super) is_frozen: AtomicBool,
    /// Every write loses its race.
    pub(super) is_contested: AtomicBool,
    /// No row of a replica can be removed.
    pub(super) keeps_replicas: AtomicBool,
    /// How often the keys that a replica waits for were asked for.
    pub(super) burials: AtomicU64,
    /// How long it takes to count waiters, in milliseconds.
    pub(super) count_ms: AtomicU64,
    /// How long a beat takes, in milliseconds.
    pub(super) beat_ms: AtomicU64,
    /// Whether it pushes hints; it has none.
    pub(super) pushes: AtomicBool,
    /// How long a commit takes, in milliseconds.
    pub(super) commit_ms: AtomicU64,
    /// How long a load takes, in milliseconds.
    pub(super) load_ms: AtomicU64,
}

impl MemoryStore {
    pub(super) fn new() -> Self {
        Self {
            tables: Mutex::default(),
            started: Instant::now(),
            clock_offset_ms: AtomicI64::new(1_000_000),
            loads: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            away: false.into(),
            is_black_hole: false.into(),
            is_frozen: false.into(),
            is_contested: false.into(),
            keeps_replicas: false.into(),
            burials: AtomicU64::new(0),
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

    /// The row of a key as a load brings it.
    fn read(&self, id: &KeyId) -> Result<KeyState, Unreadable> {
        if self.tables().corrupt.contains(id) { Err(Unreadable("corrupt".into())) } else { Ok(self.row(id)) }
    }

    /// What is stored for a key makes no sense from now on.
    pub(super) fn corrupt(&self, id: KeyId) {
        self.tables().corrupt.insert(id);
    }

    /// Makes the head of a queue another replica's, which was known and will never beat again.
    pub(super) fn adopt_head(&self, id: &KeyId, dead: ReplicaId) {
        let mut tables = self.tables();
        tables.replicas.entry(dead).or_insert(7);
        let state = tables.keys.get_mut(id).unwrap();
        state.stamp = Some(crate::domain::Stamp(dead.0));
        if let Place::Attached { replica, .. } = &mut state.queue.head[0].place {
            *replica = dead;
        }
    }

    /// Puts waiters of a replica into the queue of a key that was known and will never beat again.
    pub(super) fn add_waiters(&self, id: &KeyId, dead: ReplicaId, count: usize) {
        let mut tables = self.tables();
        tables.replicas.entry(dead).or_insert(7);
        let state = tables.keys.get_mut(id).unwrap();
        state.stamp = Some(chance::stamp());
        for _ in 0..count {
            state.queue.push(Waiter {
                seq: state.queue.next_seq,
                version: chance::version(),
                chosen: false,
                owner: Owner::trusted("dead"),
                lease_ms: 60_000,
                data: None,
                replace_data: false,
                delete_on_release: false,
                place: Place::Attached { replica: dead, nonce: chance::nonce(false), offered_until: None },
            });
        }
    }

    /// How many waiters of a replica are offered a place.
    pub(super) fn offers_to(&self, replica: ReplicaId) -> usize {
        let offered = |place: Place| matches!(place, Place::Attached { offered_until: Some(_), .. });
        self.waiters_of(replica).into_iter().filter(|(_, waiter)| offered(waiter.place)).count()
    }

    /// The beats of all replicas.
    pub(super) fn beats(&self) -> i64 {
        self.tables().replicas.values().sum()
    }

    /// Makes another replica known.
    pub(super) fn add_replica(&self, replica: ReplicaId) {
        self.tables().replicas.insert(replica, 1);
    }

    /// Counts another replica's beat up.
    pub(super) fn beat_of(&self, replica: ReplicaId) {
        *self.tables().replicas.get_mut(&replica).unwrap() += 1;
    }

    /// All replicas that have a row.
    pub(super) fn replicas(&self) -> Vec<ReplicaId> {
        self.tables().replicas.keys().copied().collect()
    }

    /// Who has the sweepers' lease.
    pub(super) fn sweeper(&self) -> Option<ReplicaId> {
        self.tables().sweeper
    }

    /// Makes a replica one that nobody knows.
    pub(super) fn forget(&self, replica: ReplicaId) {
        self.tables().replicas.remove(&replica);
    }

    pub(super) fn clock(&self) -> Timestamp {
        let passed = i64::try_from(self.started.elapsed().as_millis()).unwrap();
        Timestamp(self.clock_offset_ms.load(Ordering::Relaxed) + passed)
    }

    fn apply(&self, writes: &[Write]) -> Committed {
        let tokens = self.tables().apply(writes);
        Committed { tokens, told: self.clock() }
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
