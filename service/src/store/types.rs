//! Requests to the store, and its answers.

use super::Unreadable;
use crate::access::{self, KeyPatterns, SecretHash};
use crate::domain::{
    KeyChange, KeyId, KeyState, Owner, ReplicaId, RequestId, RowVersion, Timestamp, Token, Version,
};

/// The kinds of loads. A key waits only for loads of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadKind {
    /// A load of many keys.
    Short,
    /// A load of keys of which more has to be read.
    Long,
    /// A load of keys of which very much has to be read: up to a million permits, which takes about a second.
    VeryLong,
}

impl LoadKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Short, Self::Long, Self::VeryLong];

    /// The most permits and waiters of a key that a load of this kind reads.
    pub const fn most_rows(self) -> usize {
        match self {
            Self::Short => 512,
            Self::Long => 16_384,
            Self::VeryLong => usize::MAX,
        }
    }

    /// The kind for a key of which more has to be read.
    #[must_use]
    pub const fn longer(self) -> Self {
        match self {
            Self::Short => Self::Long,
            Self::Long | Self::VeryLong => Self::VeryLong,
        }
    }
}

/// The part of a key that a decision needs. The key's row is always loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadRequest {
    /// The key.
    pub id: KeyId,
    /// Permits and waiters to look for by version.
    pub versions: Vec<Version>,
    /// Waiters whose data is needed. That of others is left out if it is large.
    pub data_of: Vec<Version>,
    /// Whether to count the waiters ahead of each waiter that is found by version. This reads the whole queue.
    pub positions: bool,
    /// The least number of waiters to load from the front of the queue, if there are so many.
    pub queue_prefix: usize,
    /// The least number of permits to load, if there are so many. Those that end first are loaded.
    pub permits: usize,
    /// Whether to count the granted permits even if the loaded ones suffice.
    pub counts_permits: bool,
    /// Whether to also load the permits with the latest grants whose versions callers chose, at most
    /// [`EndedVersions::AT_MOST`](crate::domain::EndedVersions::AT_MOST).
    pub latest_chosen: bool,
    /// Replica whose waiters are loaded, too, at most [`LoadRequest::REAPED_AT_ONCE`].
    pub waiters_of: Option<ReplicaId>,
    /// The load that the request is part of.
    pub kind: LoadKind,
}

impl LoadRequest {
    /// The default of `queue_prefix`.
    pub const QUEUE_PREFIX: usize = 64;
    /// The default of `permits`.
    pub const PERMITS: usize = 64;
    /// The most waiters of a dead replica that are loaded with a key.
    pub const REAPED_AT_ONCE: usize = 500;

    /// A request that suffices for most decisions.
    pub fn new(id: KeyId) -> Self {
        Self {
            id,
            versions: Vec::new(),
            data_of: Vec::new(),
            positions: false,
            queue_prefix: default_rows(Self::QUEUE_PREFIX),
            permits: default_rows(Self::PERMITS),
            counts_permits: false,
            latest_chosen: false,
            waiters_of: None,
            kind: LoadKind::Short,
        }
    }
}

/// The number of rows to load by default. Some simulations choose fewer.
#[cfg_attr(not(test), expect(clippy::missing_const_for_fn, reason = "tests choose another number"))]
fn default_rows(usual: usize) -> usize {
    #[cfg(test)]
    let usual = crate::simulation::hooks::view_size(usual);
    usual
}

/// Why a key was not loaded, while others were.
#[derive(Debug, thiserror::Error)]
pub enum NotLoaded {
    /// The key cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// More rows have to be read than a load of its kind reads.
    #[error("the key has too many rows for its load")]
    IsLong,
    /// The load has read enough permits and waiters of other keys.
    #[error("the load was full")]
    WasFull,
}

/// Loaded keys and the time.
#[derive(Debug)]
pub struct Loaded {
    /// One state for each [`LoadRequest`], in the same order. A key that was not loaded is an error of its own and does
    /// not affect the others.
    pub states: Vec<Result<KeyState, NotLoaded>>,
    /// Database time in milliseconds, rounded down, read while the keys were loaded.
    pub db_time: Timestamp,
}

impl Loaded {
    /// The writes that `decide` decides on these states. If a key was not loaded, nothing is decided; the next load reports the
    /// key.
    pub(super) fn decide(self, decide: impl FnOnce(Vec<KeyState>, Timestamp) -> Vec<Write>) -> Vec<Write> {
        let states = self.states.into_iter().collect::<Result<_, _>>();
        states.map_or_else(|_| Vec::new(), |states| decide(states, self.db_time))
    }
}

/// The change of one key. It is applied only if the key's row still has the version that the change was decided on.
#[derive(Debug, Clone)]
pub struct Write {
    /// The version of the row that the write was decided on; `None` if there was no row.
    pub prev: Option<RowVersion>,
    /// The version that this write gives the row, never used before.
    pub row_version: RowVersion,
    /// The new state, and which parts of it have changed.
    pub change: Box<KeyChange>,
}

/// The result of a commit.
#[derive(Debug)]
pub struct Committed {
    /// For each [`Write`], in the same order: the token of the row, or `None` if the write lost its race and nothing of
    /// it was applied. The token is that of the written state, or a higher one if the row was created above the
    /// tenant's floor.
    pub tokens: Vec<Option<Token>>,
    /// Database time in milliseconds, rounded down, read while the rows were written.
    pub db_time: Timestamp,
}

/// A replica that has a row in `replicas`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The id of the replica.
    pub replica: ReplicaId,
    /// The heartbeat counter of the replica.
    pub beat: i64,
}

/// The result of a replica's heartbeat.
#[derive(Debug)]
pub struct HeartbeatResult {
    /// Whether this replica still had its row. If not, others have declared it dead.
    pub known: bool,
    /// All replicas, including this one.
    pub peers: Vec<Peer>,
    /// Database time in milliseconds, rounded down.
    pub db_time: Timestamp,
}

/// The columns of a row of `waiters` that identify a waiter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRow {
    /// Tenant and key.
    pub id: KeyId,
    /// The version that the waiter waits with.
    pub version: Version,
    /// The id of its request.
    pub request_id: RequestId,
}

/// A token that was found by the hash of its secret.
#[derive(Debug)]
pub struct FoundToken {
    /// The hash.
    pub hash: SecretHash,
    /// The token.
    pub token: access::Token,
    /// Database time.
    pub now: Timestamp,
}

/// The times of a token that was found by the hash of its secret.
#[derive(Debug)]
pub struct TokenTimes {
    /// The hash.
    pub hash: SecretHash,
    /// The time from which the token is refused; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// When the token was last used, to about a minute.
    pub last_used_at: Option<Timestamp>,
    /// Database time.
    pub now: Timestamp,
}

/// Selects the keys that a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Keys that start with this text, literally.
    pub prefix: Option<String>,
    /// Keys that match one of these patterns.
    pub patterns: Option<KeyPatterns>,
}

/// Selects the locks that a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockFilter {
    /// The keys of the locks.
    pub keys: KeyFilter,
    /// Locks that this owner holds.
    pub owner: Option<Owner>,
    /// Locks that are held, or locks that are not.
    pub locked: Option<bool>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, C> {
    /// The items.
    pub items: Vec<T>,
    /// Cursor of the next page; `None` on the last page.
    pub next: Option<C>,
}

/// Use of the connections of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUse {
    /// The pool's name.
    pub pool: &'static str,
    /// Connections in use.
    pub in_use: u32,
    /// Open connections that are idle.
    pub idle: u32,
    /// The most connections.
    pub limit: u32,
}

/// Numbers of active grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeldCounts {
    /// Mutexes that are held.
    pub locks: i64,
    /// Permits that are held.
    pub permits: i64,
}
