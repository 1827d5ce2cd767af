//! The traits of a database that keeps the states of keys.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;

use super::{
    Committed, FoundToken, GrantPosition, HeartbeatResult, HeldCounts, KeyFilter, LoadRequest, Loaded,
    LockFilter, Page, Peer, PoolUse, StoreError, SweepPlace, TokenTimes, TombstonePage, WaitingRow, Write,
};
use crate::{
    access::{self, Identity, SecretHash, TokenId},
    domain::{
        Epoch, Key, KeyId, KeyState, LockView, ReplicaId, SemaphoreView, Tenant, Timestamp, Token, Version,
    },
};

/// Decides while the keys' rows are locked. The arguments are the states, in the order of the load requests, and
/// database time. Returns the writes.
pub type DecideLocked<'a> = dyn FnMut(Vec<KeyState>, Timestamp) -> Vec<Write> + Send + 'a;

/// All operations that the engine needs of a database.
pub trait Store: KeyStore + ReplicaStore + SweepStore + ListStore {}

impl<S: KeyStore + ReplicaStore + SweepStore + ListStore> Store for S {}

/// The limits of a shard's batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// How many batches are under way at a time, if none of them is slow: while the database carries out one, it has
    /// the next one at hand, and the replica sends answers.
    pub under_way: usize,
    /// How many keys a batch has: enough to spread the cost of a commit, few enough that an urgent command does not wait
    /// long for the batches before it.
    pub keys: usize,
    /// The bytes from which on a batch takes no more writes, for the same reason.
    pub bytes: usize,
    /// Whether one write that loses its race costs all writes of its batch, which then is written step by step.
    pub loses_as_a_whole: bool,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { under_way: 2, keys: 256, bytes: 128 << 10, loses_as_a_whole: false }
    }
}

/// Loads and commits the states of keys.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// Loads keys and database time: first the keys' rows, then their queues and permits. No key is named twice.
    async fn load(&self, load_requests: &[LoadRequest]) -> Result<Loaded, StoreError>;

    /// Applies writes in one durable commit, each only if its key's row still has the version that the write was
    /// decided on. The writes are sorted by key and name no key twice. They are shared, since another thread may carry
    /// them out. Replicas that a write notifies are notified if the database can do that.
    async fn commit(&self, writes: Arc<Vec<Write>>) -> Result<Committed, StoreError>;

    /// Locks the keys' rows, lets `decide` decide on them, and commits. For keys that lost too many races.
    async fn commit_locked(
        &self,
        load_requests: &[LoadRequest],
        decide: &mut DecideLocked<'_>,
    ) -> Result<(Vec<Write>, Committed), StoreError>;

    /// The epoch of new tokens. A write that was decided under an earlier epoch is refused, or loses its race.
    fn epoch(&self) -> Epoch {
        Epoch::default()
    }

    /// Why no lock can be guarded here; `None` if locks can be guarded.
    fn guard_refusal(&self) -> Option<String> {
        None
    }

    /// The session whose open transaction keeps the guard row of a slot locked, if the database shows it. With
    /// `thoroughly` this also tries ways that take a moment.
    async fn guarding_session(&self, _id: &KeyId, _slot: i32, _thoroughly: bool) -> Option<String> {
        None
    }

    /// Finds those of these keys whose row another session keeps locked. On SQLite there are none: a file is locked as
    /// a whole.
    async fn find_blocked(&self, ids: &[KeyId]) -> Result<Vec<KeyId>, StoreError>;

    /// Database time in milliseconds, rounded down.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// Checks that the database answers and that this program may write to it. After an error of `Schema` or
    /// `FileReplaced` every write is refused with the same error, until a later check finds nothing wrong. This uses a
    /// connection that others need, so a request must not await it: see [`crate::SingleFlight`].
    async fn check_ready(&self) -> Result<(), StoreError>;

    /// Settings of the database that promise less durability than a lock service needs, each as `name = value` for the
    /// log.
    async fn weak_settings(&self) -> Result<Vec<String>, StoreError>;

    /// Whether concurrent commits are faster than sequential ones. Not so on SQLite, which has one writer.
    fn commits_in_parallel(&self) -> bool;

    /// The limits of a shard's batches on this database.
    fn batch_limits(&self) -> BatchLimits {
        BatchLimits::default()
    }

    /// Whether other processes may write to this database: on a server always, on a SQLite file once another writer was
    /// noticed.
    fn has_other_writers(&self) -> bool;

    /// Use of the connections, by pool, for gauges.
    fn connections(&self) -> Vec<PoolUse> {
        Vec::new()
    }
}

/// Keeps the membership of replicas, and finds waiters by replica.
#[async_trait]
pub trait ReplicaStore: Send + Sync + 'static {
    /// Adds this replica with a heartbeat counter of 0.
    async fn join(&self, me: ReplicaId) -> Result<(), StoreError>;

    /// Increments this replica's heartbeat counter and lists all replicas.
    async fn heartbeat(&self, me: ReplicaId) -> Result<HeartbeatResult, StoreError>;

    /// Lists all replicas.
    async fn peers(&self) -> Result<Vec<Peer>, StoreError>;

    /// Removes a replica that has no waiters any more: this one, or a dead one whose counter is still `beat`.
    async fn leave(&self, replica: ReplicaId, beat: Option<i64>) -> Result<(), StoreError>;

    /// The keys with offers to waiters of this replica.
    async fn offers(&self, me: ReplicaId) -> Result<Vec<KeyId>, StoreError>;

    /// Number of waiters of this replica in all queues.
    async fn count_waiting(&self, me: ReplicaId) -> Result<i64, StoreError>;

    /// The waiters of this replica.
    async fn waiting(&self, me: ReplicaId) -> Result<Vec<WaitingRow>, StoreError>;

    /// Keys with waiters of a replica in their queues, at most `limit`.
    async fn keys_waited_for(&self, replica: ReplicaId, limit: u32) -> Result<Vec<KeyId>, StoreError>;

    /// Replicas that have waiters but no row in `replicas`.
    async fn unknown_replicas(&self) -> Result<Vec<ReplicaId>, StoreError>;

    /// Notifications for this replica; `None` where the database cannot push them.
    async fn notifications(&self, me: ReplicaId) -> Result<Option<Box<dyn Notifications>>, StoreError>;
}

/// Notifications from other replicas that the queue of a key is to be served. A notification may be lost or come twice.
#[async_trait]
pub trait Notifications: Send {
    /// The next notification; `None` after a reconnect, when notifications may have been missed.
    async fn next(&mut self) -> Result<Option<KeyId>, StoreError>;
}

/// Finds and removes what nobody needs any more.
#[async_trait]
pub trait SweepStore: Send + Sync + 'static {
    /// Takes or renews the lease of the one replica that sweeps, for `lease_ms`. Returns whether this replica has it.
    async fn lead_sweep(&self, me: ReplicaId, lease_ms: i64) -> Result<bool, StoreError>;

    /// Gives back the lease for sweeping, if this replica has it.
    async fn yield_sweep(&self, me: ReplicaId) -> Result<(), StoreError>;

    /// Keys with a detached waiter in their queue that has lost its place, at most `limit`.
    async fn lapsed_places(&self, limit: u32) -> Result<Vec<KeyId>, StoreError>;

    /// Mutexes that are to be deleted with their grant, and whose lease expired at `before` or earlier, among the next
    /// `limit` rows from a place on.
    async fn ended_to_delete(
        &self,
        before: Timestamp,
        from: SweepPlace,
        limit: u32,
    ) -> Result<Page<KeyId, SweepPlace>, StoreError>;

    /// Guarded mutexes whose guard row still names an ended grant, since a transaction that called the guard was open
    /// when the grant was ended. At most `limit`.
    async fn unfinished_releases(&self, _limit: u32) -> Result<Vec<KeyId>, StoreError> {
        Ok(Vec::new())
    }

    /// Grants whose lease expired at `before` or earlier without a release, and that are not marked as recorded, among
    /// the next `limit` locks or permits after a position. `None` is the beginning.
    async fn expired_grants(
        &self,
        before: Timestamp,
        after: Option<&GrantPosition>,
        limit: u32,
    ) -> Result<Page<(KeyId, Version), GrantPosition>, StoreError>;

    /// Free mutexes that have not changed since `since`, among the next `limit` rows after the key `after`.
    async fn idle_mutexes(
        &self,
        since: Timestamp,
        after: Option<&KeyId>,
        limit: u32,
    ) -> Result<Page<KeyId, KeyId>, StoreError>;

    /// Removes tombstones among the next `limit` rows from a place on. They have no queue, were written at `before` or
    /// earlier, and their tokens are at or below a floor that was raised at least `settle_ms` ago.
    async fn sweep_tombstones(
        &self,
        before: Timestamp,
        settle_ms: i64,
        from: SweepPlace,
        limit: u32,
    ) -> Result<TombstonePage, StoreError>;

    /// Raises the floors of tenants, except those that were raised before and have not settled.
    async fn raise_floors(&self, floors: &BTreeMap<Tenant, Token>) -> Result<(), StoreError>;

    /// Keys without a row among the next `limit` guard rows after the key `after`. Removed tombstones leave some if the
    /// replica ends before it has removed the guard rows, or if these are locked.
    async fn orphaned_guards(
        &self,
        _after: Option<&KeyId>,
        _limit: u32,
    ) -> Result<Page<KeyId, KeyId>, StoreError> {
        Ok(Page { items: Vec::new(), next: None })
    }

    /// Removes at most `limit` guard rows of those of these keys that have no row, and returns their number. Guard rows
    /// that a transaction keeps locked stay.
    async fn remove_guards(&self, _gone: &[KeyId], _limit: u32) -> Result<u64, StoreError> {
        Ok(0)
    }
}

/// A database that also keeps tokens.
pub trait Database: Store + TokenStore {}

impl<S: Store + TokenStore> Database for S {}

/// Keeps bearer tokens, by the hashes of their secrets.
#[async_trait]
pub trait TokenStore: Send + Sync + 'static {
    /// The tokens with these hashes, including expired ones. No hash is named twice.
    async fn find_tokens(&self, hashes: &[SecretHash]) -> Result<Vec<FoundToken>, StoreError>;

    /// The times of the tokens with these hashes, including expired ones. No hash is named twice. Nothing else of a token ever changes,
    /// and its names and key patterns may be long.
    async fn token_times(&self, hashes: &[SecretHash]) -> Result<Vec<TokenTimes>, StoreError>;

    /// The token with this id.
    async fn get_token(&self, id: TokenId) -> Result<Option<access::Token>, StoreError>;

    /// One page of tokens in the order of their ids: those that `by` may see as an administrator, or all tokens without
    /// `by`.
    async fn list_tokens(
        self: Arc<Self>,
        by: Option<Identity>,
        after: Option<TokenId>,
        limit: u32,
    ) -> Result<Page<access::Token, TokenId>, StoreError>;

    /// The number of tokens that are limited to a tenant.
    async fn count_tokens(&self, tenant: &Tenant) -> Result<u64, StoreError>;

    /// Database time in milliseconds, rounded down.
    async fn token_time(&self) -> Result<Timestamp, StoreError>;

    /// Adds a token.
    async fn add_token(&self, token: &access::Token, hash: SecretHash) -> Result<(), StoreError>;

    /// Removes a token. Returns whether it was there.
    async fn remove_token(&self, id: TokenId) -> Result<bool, StoreError>;

    /// Records that these tokens were used now. A token whose use was recorded within the last minute is left as it is.
    async fn note_use(&self, ids: &[TokenId]) -> Result<(), StoreError>;
}

/// Lists and counts. Lists take turns by tenant; one that would wait for too long fails as overload.
#[async_trait]
pub trait ListStore: Send + Sync + 'static {
    /// One page of locks in byte order of their keys.
    async fn list_locks(
        self: Arc<Self>,
        tenant: Tenant,
        filter: LockFilter,
        after: Option<Key>,
        limit: u32,
    ) -> Result<Page<LockView, Key>, StoreError>;

    /// One page of semaphores in byte order of their keys.
    async fn list_semaphores(
        self: Arc<Self>,
        tenant: Tenant,
        filter: KeyFilter,
        after: Option<Key>,
        limit: u32,
    ) -> Result<Page<SemaphoreView, Key>, StoreError>;

    /// One page of a semaphore's active permits, in the order of their slots.
    async fn list_permits(
        self: Arc<Self>,
        id: KeyId,
        after: Option<i32>,
        limit: u32,
    ) -> Result<Page<LockView, i32>, StoreError>;

    /// Approximate number of bytes that a tenant stores: [`ROW_BYTES`](crate::domain::ROW_BYTES) and the data of each
    /// row. This reads all rows of the tenant.
    async fn stored_bytes(&self, tenant: &Tenant) -> Result<u64, StoreError>;

    /// Counts active grants. This reads whole tables: it is meant for a gauge.
    async fn count_held(&self) -> Result<HeldCounts, StoreError>;
}
