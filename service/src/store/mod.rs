//! How the states of keys are kept in a database: one trait, three dialects, one suite of tests over all.
//!
//! The store owns the schema's SQL and nothing of the rules. It is the only module that names `sea_orm`. Its two verbs on
//! the hot path are [`Store::load`] and [`Store::commit`]; the rest is lists, membership of replicas, and sweeping.

mod cells;
mod children;
mod classify;
mod commit;
mod connect;
mod dialect;
mod disk;
mod ended;
mod error;
mod gate;
mod implementation;
mod lists;
mod load;
mod locked;
mod mysql;
mod notifications;
mod page;
mod pool;
mod pools;
mod postgres;
mod ready;
mod replicas;
mod rows;
mod schema;
mod session;
mod settings;
mod sql;
mod sql_store;
mod sqlite;
mod sweep;
mod url;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;

pub use error::{StoreError, Unreadable};
pub use schema::{MigrationStatus, check_schema, migrate_down, migrate_redo, migrate_status, migrate_up};
pub use sql::hot_statements;
pub use sql_store::connect;
pub use url::{DatabaseOptions, DatabasePlace, UrlError};

use crate::domain::{
    Key, KeyChange, KeyId, KeyState, LockView, Owner, ReplicaId, RequestId, RowVersion, SemaphoreView,
    Tenant, Timestamp, Token, Version,
};

/// How much of a key a decision needs. The row is always loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadRequest {
    /// The key.
    pub id: KeyId,
    /// Permits and waiters to look for by version.
    pub versions: Vec<Version>,
    /// Count how many stand before each waiter that is found by version: this reads the whole queue.
    pub positions: bool,
    /// The front of the queue: at least this many, if there are so many.
    pub queue_prefix: usize,
    /// The permits that end first: at least this many, if there are so many.
    pub permits: usize,
    /// Count the permits that are out, even where the view would do without.
    pub busy: bool,
    /// The permits with the latest grants whose versions callers chose too, up to [`AT_MOST`](crate::domain::EndedVersions::AT_MOST).
    pub latest_chosen: bool,
    /// All waiters of this replica too, up to [`LoadRequest::REAPED_AT_ONCE`].
    pub waiters_of: Option<ReplicaId>,
}

impl LoadRequest {
    /// The front of the queue that is loaded unless more is asked for.
    pub const QUEUE_PREFIX: usize = 64;
    /// The permits that are loaded unless more are asked for.
    pub const PERMITS: usize = 64;
    /// The most waiters of a dead replica that are loaded with a key.
    pub const REAPED_AT_ONCE: usize = 500;

    /// What most decisions need.
    pub fn new(id: KeyId) -> Self {
        Self {
            id,
            versions: Vec::new(),
            positions: false,
            queue_prefix: first_rows(Self::QUEUE_PREFIX),
            permits: first_rows(Self::PERMITS),
            busy: false,
            latest_chosen: false,
            waiters_of: None,
        }
    }
}

/// How many rows are loaded unless more are asked for; fewer in some simulations.
#[cfg_attr(not(test), expect(clippy::missing_const_for_fn, reason = "tests choose another number"))]
fn first_rows(usual: usize) -> usize {
    #[cfg(test)]
    let usual = crate::simulation::hooks::view_size(usual);
    usual
}

/// Loaded keys and the time.
#[derive(Debug)]
pub struct Loaded {
    /// One state for each [`LoadRequest`], in the same order. A key that cannot be read is an error for itself alone.
    pub states: Vec<Result<KeyState, Unreadable>>,
    /// The database's clock, read while they were loaded; rounded down.
    pub db_time: Timestamp,
}

impl Loaded {
    /// All states; `None` where one cannot be read.
    fn all(self) -> Option<Vec<KeyState>> {
        self.states.into_iter().collect::<Result<_, _>>().ok()
    }
}

/// One key's change, to be applied only if the key's row is still the one it was decided on.
#[derive(Debug, Clone)]
pub struct Write {
    /// The row version of the row that it was decided on; `None` where there was no row.
    pub prev: Option<RowVersion>,
    /// The row version of this write, never used before.
    pub row_version: RowVersion,
    /// The new state, and what of it has changed.
    pub change: Box<KeyChange>,
}

/// What became of the writes of a commit.
#[derive(Debug)]
pub struct Committed {
    /// For each [`Write`], in the same order: the token that the row now has, or `None` where the write lost its race
    /// and nothing of it was applied. The token is the state's own, or higher where the row was created above the
    /// tenant's floor.
    pub tokens: Vec<Option<Token>>,
    /// The database's clock, read while it was written; rounded down.
    pub db_time: Timestamp,
}

/// Decides under a lock: from the locked states (in the order of the wants) and the database's time to the writes.
pub type DecideLocked<'a> = dyn FnMut(Vec<KeyState>, Timestamp) -> Vec<Write> + Send + 'a;

/// Another replica as its row shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Which.
    pub replica: ReplicaId,
    /// Its beat counter.
    pub beat: i64,
}

/// What a beat brought.
#[derive(Debug)]
pub struct Beat {
    /// Whether our own row was still there; if not, others took us for dead.
    pub known: bool,
    /// All rows, our own included.
    pub peers: Vec<Peer>,
    /// The database's clock; rounded down.
    pub db_time: Timestamp,
}

/// A waiter as its row names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRow {
    /// Tenant and key.
    pub id: KeyId,
    /// The version it waits with.
    pub version: Version,
    /// The request.
    pub request_id: RequestId,
}

/// Which locks a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockFilter {
    /// Keys that start with this text, literally.
    pub prefix: Option<String>,
    /// Locks with a standing grant of this owner.
    pub owner: Option<Owner>,
    /// Held ones, or those that are not.
    pub locked: Option<bool>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, C> {
    /// The items.
    pub items: Vec<T>,
    /// After what the next page goes on; `None` on the last.
    pub next: Option<C>,
}

/// How the connections of one pool are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUse {
    /// Which pool.
    pub pool: &'static str,
    /// Connections that are being used.
    pub in_use: u32,
    /// Open connections that nobody uses.
    pub idle: u32,
    /// The most connections.
    pub limit: u32,
}

/// How many grants stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeldCounts {
    /// Mutexes held.
    pub locks: i64,
    /// Permits out.
    pub permits: i64,
}

/// Notifications from other replicas that a key wants a look. A notification may be lost or come twice; the database is the truth.
#[async_trait]
pub trait Notifications: Send {
    /// The next notification; `None` after the connection was lost and made anew, when notifications may have been missed.
    async fn next(&mut self) -> Result<Option<KeyId>, StoreError>;
}

/// A database that keeps the states of keys.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Loads keys with the database's time: the rows first, then what hangs on them. No key twice.
    async fn load(&self, load_requests: &[LoadRequest]) -> Result<Loaded, StoreError>;

    /// Applies writes, each only if its key's row still bears the row version it was decided on, all that apply in one durable
    /// commit. The writes are sorted by key, no key twice; they are shared with whoever writes, which may be a thread. Other
    /// replicas that a write notifies are told where the database can.
    async fn commit(&self, writes: Arc<Vec<Write>>) -> Result<Committed, StoreError>;

    /// Locks the keys' rows, lets `decide` decide on them, and commits: for keys that lost too many races.
    async fn commit_locked(
        &self,
        load_requests: &[LoadRequest],
        decide: &mut DecideLocked<'_>,
    ) -> Result<(Vec<Write>, Committed), StoreError>;

    /// Which of these keys have a row that somebody else has locked at this moment, or had while it was asked for: none on
    /// SQLite, where a file is locked as a whole.
    async fn find_locked(&self, ids: &[KeyId]) -> Result<Vec<KeyId>, StoreError>;

    /// The database's clock, in milliseconds, rounded down.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// Whether the database answers and this program may write to it. From an answer of `Schema` or `FileReplaced` on every write
    /// is refused with it, until the answer is another one.
    async fn check_ready(&self) -> Result<(), StoreError>;

    /// Settings of the database that promise less durability than a lock service needs, each as a sentence for the log.
    async fn weak_settings(&self) -> Result<Vec<String>, StoreError>;

    /// Whether several commits at a time pay: not on SQLite, which has one writer.
    fn commits_in_parallel(&self) -> bool;

    /// Whether other processes may write to this database: always on a server; for a SQLite file once one has been noticed.
    fn has_other_writers(&self) -> bool;

    /// How many connections to the database there are, by pool: for gauges.
    fn connections(&self) -> Vec<PoolUse> {
        Vec::new()
    }

    /// Makes this replica known, with its first beat.
    async fn join(&self, me: ReplicaId) -> Result<(), StoreError>;

    /// Counts this replica's beat up by one and lists all replicas.
    async fn beat(&self, me: ReplicaId) -> Result<Beat, StoreError>;

    /// Lists all replicas without a beat of this one.
    async fn peers(&self) -> Result<Vec<Peer>, StoreError>;

    /// Removes a replica that has no waiters any more: itself, or a dead one whose beat is still `beat`.
    async fn part(&self, replica: ReplicaId, beat: Option<i64>) -> Result<(), StoreError>;

    /// The keys with offers to this replica's waiters.
    async fn offers(&self, me: ReplicaId) -> Result<Vec<KeyId>, StoreError>;

    /// How many waiters of this replica are in queues.
    async fn count_waiting(&self, me: ReplicaId) -> Result<i64, StoreError>;

    /// The waiters of this replica.
    async fn waiting(&self, me: ReplicaId) -> Result<Vec<WaitingRow>, StoreError>;

    /// Keys in whose queues waiters of a replica stand, at most `limit`.
    async fn keys_waited_for(&self, replica: ReplicaId, limit: u32) -> Result<Vec<KeyId>, StoreError>;

    /// Replicas that have waiters but no row of their own.
    async fn unknown_replicas(&self) -> Result<Vec<ReplicaId>, StoreError>;

    /// Keys in whose queues a place that was kept has lapsed, at most `limit`.
    async fn lapsed_places(&self, limit: u32) -> Result<Vec<KeyId>, StoreError>;

    /// Notifications for this replica, where the database can push them.
    async fn notifications(&self, me: ReplicaId) -> Result<Option<Box<dyn Notifications>>, StoreError>;

    /// One page of locks in byte order of their keys.
    async fn list_locks(
        &self,
        tenant: &Tenant,
        filter: &LockFilter,
        after: Option<&Key>,
        limit: u32,
    ) -> Result<Page<LockView, Key>, StoreError>;

    /// One page of semaphores in byte order of their keys.
    async fn list_semaphores(
        &self,
        tenant: &Tenant,
        prefix: Option<&str>,
        after: Option<&Key>,
        limit: u32,
    ) -> Result<Page<SemaphoreView, Key>, StoreError>;

    /// One page of the permits that are out, by slot.
    async fn list_permits(
        &self,
        id: &KeyId,
        after: Option<i32>,
        limit: u32,
    ) -> Result<Page<LockView, i32>, StoreError>;

    /// How many grants stand. It reads the whole table: for a gauge, now and then.
    async fn count_held(&self) -> Result<HeldCounts, StoreError>;

    /// Takes or renews the lease of the one replica that sweeps, for `lease_ms`. Returns whether it has it.
    async fn lead_sweep(&self, me: ReplicaId, lease_ms: i64) -> Result<bool, StoreError>;

    /// Gives the lease of the replica that sweeps back, if this one has it.
    async fn yield_sweep(&self, me: ReplicaId) -> Result<(), StoreError>;

    /// Mutexes whose ended grant takes them with it and ended at `before` or earlier, at most `limit`.
    async fn ended_to_delete(&self, before: Timestamp, limit: u32) -> Result<Vec<KeyId>, StoreError>;

    /// Free mutexes that nobody touched since `since`, among the next `limit` rows after the key `after`; and the key to go on
    /// after, `None` at the end of the table.
    async fn idle_mutexes(
        &self,
        since: Timestamp,
        after: Option<&KeyId>,
        limit: u32,
    ) -> Result<Page<KeyId, KeyId>, StoreError>;

    /// Removes tombstones without a queue that were written at `before` or earlier and whose tokens lie at or below a
    /// floor that was raised at least `settle_ms` ago; then raises the floors of their tenants for the next ones. At most
    /// `limit` rows. Returns how many went.
    async fn sweep_tombstones(
        &self,
        before: Timestamp,
        settle_ms: i64,
        limit: u32,
    ) -> Result<u64, StoreError>;
}
