//! A database in memory for tests of the engine: conditional writes by stamp, a clock of its own, faults on demand.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::{
    domain::{Key, KeyId, KeyState, LockView, Place, ReplicaId, SemaphoreView, Tenant, Timestamp, Token},
    store::{
        Beat, Committed, DecideLocked, HeldCounts, Hints, Loaded, LockFilter, Page, Peer, Store, StoreError,
        WaitingRow, Want, Write,
    },
};

/// How long an answer is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection is waited for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a commit waits for another one's locks.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// What the next commit meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is applied, and the answer is lost.
    AppliedUnknown,
    /// It is not applied, and nobody can tell.
    LostUnknown,
    /// It is stuck with its row locked: no answer comes in time, and it is applied after so long, if its condition holds.
    Stuck(Duration),
    /// It is stuck on the way, and nobody waits for it: the same without a lock.
    Astray(Duration),
    /// It refuses this one.
    Refused,
    /// It asks to try again.
    Transient,
    /// It refuses every batch that writes this key.
    Poisoned(&'static str),
}

#[derive(Default)]
struct Tables {
    keys: BTreeMap<KeyId, KeyState>,
    replicas: BTreeMap<ReplicaId, i64>,
    faults: VecDeque<Fault>,
    /// Commits that were given up by whoever sent them, and are applied when their time has come.
    late: Vec<Late>,
}

/// A commit that is applied later.
struct Late {
    at: Instant,
    writes: Arc<Vec<Write>>,
    locks_rows: bool,
}

impl Tables {
    /// Applies each write whose row still bears the stamp it was decided on.
    fn apply(&mut self, writes: &[Write]) -> Vec<Option<Token>> {
        writes.iter().map(|write| self.apply_one(write)).collect()
    }

    fn apply_one(&mut self, write: &Write) -> Option<Token> {
        let id = &write.working.id;
        if self.keys.get(id).and_then(|state| state.stamp) != write.prev {
            return None;
        }
        let mut state = write.working.state.clone();
        assert!(state.queue.is_complete(), "this store keeps whole queues");
        state.stamp = Some(write.stamp);
        state.queue.trim(usize::MAX);
        let token = state.token;
        self.keys.insert(id.clone(), state);
        Some(token)
    }

    /// Applies the late commits that are due.
    fn catch_up(&mut self) {
        let now = Instant::now();
        while let Some(index) = self.late.iter().position(|late| late.at <= now) {
            let late = self.late.remove(index);
            self.apply(&late.writes);
        }
    }

    /// Until when a row that one of these writes needs is locked.
    fn locked_until(&self, writes: &[Write]) -> Option<Instant> {
        let meets = |late: &&Late| {
            let ids = || writes.iter().map(|write| &write.working.id);
            late.locks_rows && late.writes.iter().any(|write| ids().any(|id| *id == write.working.id))
        };
        self.late.iter().filter(meets).map(|late| late.at).max()
    }
}

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

    /// Makes a replica one that nobody knows.
    pub(super) fn forget(&self, replica: ReplicaId) {
        self.tables().replicas.remove(&replica);
    }

    pub(super) fn clock(&self) -> Timestamp {
        let passed = i64::try_from(self.started.elapsed().as_millis()).unwrap();
        Timestamp(self.clock_offset_ms.load(Ordering::Relaxed) + passed)
    }

    async fn reach(&self) -> Result<(), StoreError> {
        if self.is_black_hole.load(Ordering::Relaxed) {
            tokio::time::sleep(CONNECT_TIMEOUT).await;
            return Err(StoreError::Unreachable("no route".into()));
        }
        if self.away.load(Ordering::Relaxed) { Err(StoreError::Unreachable("away".into())) } else { Ok(()) }
    }

    fn apply(&self, writes: &[Write]) -> Committed {
        let tokens = self.tables().apply(writes);
        Committed { tokens, told: self.clock() }
    }

    /// Takes the locks that a commit needs, as long as a server waits for them.
    async fn lock_rows(&self, writes: &[Write]) -> Result<(), StoreError> {
        let given_up = Instant::now() + LOCK_TIMEOUT;
        let Some(until) = self.tables().locked_until(writes) else { return Ok(()) };
        tokio::time::sleep_until(until.min(given_up)).await;
        if until > given_up { Err(StoreError::Transient("lock timeout".into())) } else { Ok(()) }
    }

    /// Nothing is written while it is frozen.
    async fn thaw(&self) -> Result<(), StoreError> {
        if self.is_frozen.load(Ordering::Relaxed) {
            tokio::time::sleep(ANSWER_TIMEOUT).await;
            return Err(StoreError::Unknown("no answer in time".into()));
        }
        Ok(())
    }

    /// Gives up a commit that goes on without us.
    async fn lose_sight(&self, writes: Arc<Vec<Write>>, after: Duration, locks_rows: bool) -> StoreError {
        let at = Instant::now() + after;
        self.tables().late.push(Late { at, writes, locks_rows });
        tokio::time::sleep(ANSWER_TIMEOUT).await;
        StoreError::Unknown("no answer in time".into())
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

/// A connection on which no hint ever comes.
struct NoHints;

#[async_trait]
impl Hints for NoHints {
    async fn next(&mut self) -> Result<Option<KeyId>, StoreError> {
        std::future::pending().await
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self, wants: &[Want]) -> Result<Loaded, StoreError> {
        tokio::task::yield_now().await;
        self.reach().await?;
        self.loads.fetch_add(1, Ordering::Relaxed);
        let takes = self.load_ms.load(Ordering::Relaxed);
        if takes > 0 {
            tokio::time::sleep(Duration::from_millis(takes)).await;
        }
        let states = wants.iter().map(|want| self.row(&want.id)).collect();
        Ok(Loaded { states, told: self.clock() })
    }

    async fn commit(&self, writes: Arc<Vec<Write>>) -> Result<Committed, StoreError> {
        tokio::task::yield_now().await;
        self.reach().await?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        assert!(writes.is_sorted_by(|a, b| a.working.id < b.working.id), "sorted, and no key twice");
        self.thaw().await?;
        let takes = self.commit_ms.load(Ordering::Relaxed);
        if takes > 0 {
            tokio::time::sleep(Duration::from_millis(takes)).await;
        }
        if self.is_contested.load(Ordering::Relaxed) {
            return Ok(Committed { tokens: vec![None; writes.len()], told: self.clock() });
        }
        let fault = self.tables().faults.pop_front();
        match fault {
            Some(Fault::Stuck(after)) => return Err(self.lose_sight(writes, after, true).await),
            Some(Fault::Astray(after)) => return Err(self.lose_sight(writes, after, false).await),
            _ => self.lock_rows(&writes).await?,
        }
        let writes = writes.as_slice();
        match fault {
            Some(Fault::AppliedUnknown) => {
                self.apply(writes);
                Err(StoreError::Unknown("the answer is lost".into()))
            }
            Some(Fault::LostUnknown) => Err(StoreError::Unknown("the statement is lost".into())),
            Some(Fault::Refused) => Err(StoreError::Rejected("refused".into())),
            Some(Fault::Transient) => Err(StoreError::Transient("deadlock".into())),
            Some(Fault::Poisoned(key)) => {
                if writes.iter().any(|write| write.working.id.key.as_str() == key) {
                    self.fail_next(Fault::Poisoned(key));
                    return Err(StoreError::Rejected("poisoned".into()));
                }
                self.fail_next(Fault::Poisoned(key));
                Ok(self.apply(writes))
            }
            Some(Fault::Stuck(_) | Fault::Astray(_)) | None => Ok(self.apply(writes)),
        }
    }

    async fn commit_locked(
        &self,
        wants: &[Want],
        decide: &mut DecideLocked<'_>,
    ) -> Result<(Vec<Write>, Committed), StoreError> {
        self.reach().await?;
        self.thaw().await?;
        if self.is_contested.load(Ordering::Relaxed) {
            return Err(StoreError::Transient("lock timeout".into()));
        }
        let writes = decide(wants.iter().map(|want| self.row(&want.id)).collect(), self.clock());
        let committed = self.apply(&writes);
        Ok((writes, committed))
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
        false
    }

    fn has_other_writers(&self) -> bool {
        true
    }

    async fn join(&self, me: ReplicaId) -> Result<(), StoreError> {
        self.reach().await?;
        self.tables().replicas.insert(me, 0);
        Ok(())
    }

    async fn beat(&self, me: ReplicaId) -> Result<Beat, StoreError> {
        tokio::time::sleep(Duration::from_millis(self.beat_ms.load(Ordering::Relaxed))).await;
        self.reach().await?;
        let mut tables = self.tables();
        let known = tables.replicas.get_mut(&me).map(|beat| *beat += 1).is_some();
        let peers = tables.replicas.iter().map(|(&replica, &beat)| Peer { replica, beat }).collect();
        drop(tables);
        Ok(Beat { known, peers, told: self.clock() })
    }

    async fn part(&self, replica: ReplicaId, beat: Option<i64>) -> Result<(), StoreError> {
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
            Place::Attached { nonce, .. } => Some(WaitingRow { id, version: waiter.version, nonce }),
            Place::Detached { .. } => None,
        };
        Ok(self.waiters_of(me).into_iter().filter_map(row).collect())
    }

    async fn keys_waited_for(&self, replica: ReplicaId, _limit: u32) -> Result<Vec<KeyId>, StoreError> {
        self.reach().await?;
        self.burials.fetch_add(1, Ordering::Relaxed);
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

    async fn lapsed_places(&self, _limit: u32) -> Result<Vec<KeyId>, StoreError> {
        Ok(Vec::new())
    }

    async fn hints(&self, _me: ReplicaId) -> Result<Option<Box<dyn Hints>>, StoreError> {
        let pushes = self.pushes.load(Ordering::Relaxed);
        Ok(pushes.then(|| Box::new(NoHints) as Box<dyn Hints>))
    }

    async fn list_locks(
        &self,
        _tenant: &Tenant,
        _filter: &LockFilter,
        _after: Option<&Key>,
        _limit: u32,
    ) -> Result<Page<LockView, Key>, StoreError> {
        Ok(Page { items: Vec::new(), next: None })
    }

    async fn list_semaphores(
        &self,
        _tenant: &Tenant,
        _prefix: Option<&str>,
        _after: Option<&Key>,
        _limit: u32,
    ) -> Result<Page<SemaphoreView, Key>, StoreError> {
        Ok(Page { items: Vec::new(), next: None })
    }

    async fn list_permits(
        &self,
        _id: &KeyId,
        _after: Option<i32>,
        _limit: u32,
    ) -> Result<Page<LockView, i32>, StoreError> {
        Ok(Page { items: Vec::new(), next: None })
    }

    async fn count_held(&self) -> Result<HeldCounts, StoreError> {
        Ok(HeldCounts::default())
    }

    async fn lead_sweep(&self, _me: ReplicaId, _lease_ms: i64) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn ended_to_delete(&self, _before: Timestamp, _limit: u32) -> Result<Vec<KeyId>, StoreError> {
        Ok(Vec::new())
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
        _limit: u32,
    ) -> Result<u64, StoreError> {
        Ok(0)
    }
}
