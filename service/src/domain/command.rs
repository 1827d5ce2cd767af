//! What can be asked of a key.

use std::sync::Arc;

use super::{Data, Owner, Reason, ReplicaId, RequestId, Timestamp, Version};

/// Which of the two kinds of key a command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A lock.
    Mutex,
    /// A semaphore.
    Semaphore,
}

/// Take a lease on a mutex or on a permit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the contract has these independent switches")]
pub struct Acquire {
    /// Of which kind the key must be.
    pub kind: Kind,
    /// Who holds it, shown to others.
    pub owner: Owner,
    /// The lease in milliseconds; `None` is the semaphore's default.
    pub lease_ms: Option<i64>,
    /// How long to wait in milliseconds; `None` is as long as the lease.
    pub wait_ms: Option<i64>,
    /// Waiting time on top, in milliseconds.
    pub additional_wait_ms: i64,
    /// Where a wait is cut that follows from a default, in milliseconds.
    pub max_wait_ms: i64,
    /// Text to store.
    pub data: Option<Data>,
    /// Whether `data` takes the place of what a mutex has.
    pub replace_data: bool,
    /// The mutex's row goes when the grant ends.
    pub delete_on_release: bool,
    /// Refuse instead of creating.
    pub only_if_exists: bool,
    /// The identity of the grant-to-be.
    pub version: Version,
    /// Whether the caller chose the version.
    pub chosen: bool,
    /// Whether an earlier try of this very command may have been written without our knowing.
    pub retried: bool,
    /// The request of the caller. It tells whether the standing grant of the same owner is an answer.
    pub request_id: RequestId,
}

/// What becomes of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataEdit {
    /// It stays.
    Keep,
    /// It is replaced.
    Set(Data),
    /// It goes.
    Delete,
}

/// Lease a grant anew from now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Under which kind's path it came; a semaphore's permits are renewed under both.
    pub kind: Kind,
    /// The grant.
    pub version: Version,
    /// The new lease in milliseconds; `None` is the grant's.
    pub lease_ms: Option<i64>,
    /// What becomes of the data.
    pub data: DataEdit,
    /// The new request of the grant.
    pub request_id: RequestId,
}

/// Give a grant back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Under which kind's path it came; a semaphore's permits are released under both.
    pub kind: Kind,
    /// The grant.
    pub version: Version,
    /// What becomes of the data.
    pub data: DataEdit,
    /// The mutex goes with it.
    pub delete_lock: bool,
}

/// End a grant by force, as an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForcedRelease {
    /// Under which kind's path it came; a semaphore's permits are released under both.
    pub kind: Kind,
    /// The grant; `None` is whatever grant of a lock is active.
    pub version: Option<Version>,
    /// What becomes of the data.
    pub data: DataEdit,
    /// The mutex goes with it.
    pub delete_lock: bool,
    /// Who ends it, as the former holder is told.
    pub by: Option<Arc<str>>,
    /// Why, as the former holder is told.
    pub reason: Option<Reason>,
}

/// Why a waiter leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaveReason {
    /// It waited as long as it wanted to.
    TimedOut,
    /// Its connection went away.
    HungUp,
    /// The service stops, or its replica was taken for dead.
    Evicted,
    /// It does not leave: its row seems to be missing, and it wants to know what became of it.
    Missing,
}

/// A command for one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Take a lease.
    Acquire(Acquire),
    /// Renew a lease.
    Heartbeat(Heartbeat),
    /// End a lease.
    Release(Release),
    /// End a lease by force.
    ForceRelease(ForcedRelease),
    /// Look at a lock or semaphore.
    Get(Kind),
    /// Create a lock, or replace a free lock's data.
    PutLock {
        /// The data.
        data: Option<Data>,
        /// Whether the lock is guarded from now on; `None` keeps it.
        guarded: Option<bool>,
    },
    /// Delete a lock.
    DeleteLock {
        /// The grant that stands, where one does.
        version: Option<Version>,
    },
    /// Create or resize a semaphore.
    PutSemaphore {
        /// How many permits may be out, 1 to 1,000,000.
        max_size: i32,
        /// The default lease of its permits in milliseconds; `None` keeps it.
        lease_ms: Option<i64>,
        /// The default lease of a new one for which none is given, in milliseconds.
        default_lease_ms: i64,
        /// Whether it is guarded from now on; `None` keeps it.
        guarded: Option<bool>,
    },
    /// Delete a semaphore without permits out.
    DeleteSemaphore,
    /// A waiter of this replica leaves the queue.
    Leave {
        /// The version it waits with.
        version: Version,
        /// Its request; a later request is left alone.
        request_id: RequestId,
        /// Why.
        reason: LeaveReason,
    },
    /// Undo an acquire whose answer never reached its caller: end its grant, or take it out of the queue.
    GiveBack {
        /// The version it was asked with.
        version: Version,
        /// Its request; a later request is left alone.
        request_id: RequestId,
    },
    /// The answer of an acquire reached nobody, and its caller can ask again: mark its grant as kept for that.
    Keep {
        /// The version it was asked with.
        version: Version,
        /// Its request; a later request is left alone.
        request_id: RequestId,
    },
    /// Time has passed, or a place was offered: serve the queue.
    ServeQueue,
    /// Take the waiters of a dead replica out of the queue.
    ReapReplica {
        /// The replica.
        replica: ReplicaId,
    },
    /// The lease of a grant ended a while ago, and its key was not written since: list that for the audit trail, once.
    NoteExpiry {
        /// The grant.
        version: Version,
    },
    /// Remove what nobody needs any more.
    Sweep {
        /// Ended grants with `delete_on_release` go when they ended before.
        ended_before: Timestamp,
        /// Free locks go when nobody touched them since; `None` keeps them.
        idle_since: Option<Timestamp>,
    },
}

impl Command {
    /// Whether the command gives something back or keeps something alive: these go before all others. Leaving a queue is
    /// neither, and thousands may want to leave at once.
    pub const fn is_urgent(&self) -> bool {
        !matches!(
            self,
            Self::Acquire(_)
                | Self::Get(_)
                | Self::NoteExpiry { .. }
                | Self::Sweep { .. }
                | Self::Leave { .. }
                | Self::ReapReplica { .. }
        )
    }

    /// Whether the answer may have to say where in the queue a waiter stood.
    pub const fn tells_position(&self) -> bool {
        match self {
            Self::Acquire(acquire) => acquire.chosen || acquire.retried,
            Self::Leave { reason, .. } => matches!(reason, LeaveReason::TimedOut),
            _ => false,
        }
    }

    /// The version by which permits and waiters are looked for.
    pub const fn named_version(&self) -> Option<Version> {
        match self {
            Self::Acquire(acquire) if acquire.chosen || acquire.retried => Some(acquire.version),
            Self::Heartbeat(Heartbeat { version, .. })
            | Self::Release(Release { version, .. })
            | Self::Leave { version, .. }
            | Self::GiveBack { version, .. }
            | Self::Keep { version, .. }
            | Self::NoteExpiry { version } => Some(*version),
            Self::ForceRelease(forced) => forced.version,
            Self::Acquire(_)
            | Self::Get(_)
            | Self::PutLock { .. }
            | Self::DeleteLock { .. }
            | Self::PutSemaphore { .. }
            | Self::DeleteSemaphore
            | Self::ServeQueue
            | Self::ReapReplica { .. }
            | Self::Sweep { .. } => None,
        }
    }
}
