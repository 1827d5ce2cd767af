//! The commands for a key.

use std::sync::Arc;

use super::{Data, Owner, Reason, ReplicaId, RequestId, Timestamp, Version};

/// The kind of key that a command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A lock.
    Mutex,
    /// A semaphore.
    Semaphore,
}

/// The command to take a lease on a mutex or on a permit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the contract has these independent switches")]
pub struct Acquire {
    /// The kind that the key must have.
    pub kind: Kind,
    /// The owner of the future grant, shown to others.
    pub owner: Owner,
    /// The lease in milliseconds; `None` is the default of the semaphore or of mutexes.
    pub lease_ms: Option<i64>,
    /// The waiting time in milliseconds; `None` is the length of the lease.
    pub wait_ms: Option<i64>,
    /// Additional waiting time in milliseconds.
    pub additional_wait_ms: i64,
    /// The maximum of a waiting time that follows from a default, in milliseconds.
    pub max_wait_ms: i64,
    /// Text to store.
    pub data: Option<Data>,
    /// Whether `data` replaces the data of a mutex.
    pub replace_data: bool,
    /// Whether the mutex is deleted when the grant ends.
    pub delete_on_release: bool,
    /// Whether the acquire is refused if the key does not exist.
    pub only_if_exists: bool,
    /// The version of the future grant.
    pub version: Version,
    /// Whether the caller chose the version.
    pub chosen: bool,
    /// Whether an earlier write of this command may have been applied.
    pub retried: bool,
    /// The id of the request. Its flags say whether an active grant of the same owner is an answer.
    pub request_id: RequestId,
}

impl Acquire {
    /// Whether this acquire may wait.
    pub fn may_wait(&self) -> bool {
        self.wait_ms != Some(0) || self.additional_wait_ms > 0
    }
}

/// An edit of the stored data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataEdit {
    /// The data stays.
    Keep,
    /// The data is replaced.
    Set(Data),
    /// The data is deleted.
    Delete,
}

/// The command to renew the lease of a grant from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// The kind whose path the request used. Permits of a semaphore are renewed under both paths.
    pub kind: Kind,
    /// The version of the grant.
    pub version: Version,
    /// The new lease in milliseconds; `None` keeps the grant's lease.
    pub lease_ms: Option<i64>,
    /// The edit of the data.
    pub data: DataEdit,
    /// The new request id of the grant.
    pub request_id: RequestId,
}

/// The command to release a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The kind whose path the request used. Permits of a semaphore are released under both paths.
    pub kind: Kind,
    /// The version of the grant.
    pub version: Version,
    /// The edit of the data.
    pub data: DataEdit,
    /// Whether the mutex is deleted too.
    pub delete_lock: bool,
}

/// The command by which an operator ends a grant by force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForcedRelease {
    /// The kind whose path the request used. Permits of a semaphore are released under both paths.
    pub kind: Kind,
    /// The version of the grant; `None` is the active grant of a lock.
    pub version: Option<Version>,
    /// The edit of the data.
    pub data: DataEdit,
    /// Whether the mutex is deleted too.
    pub delete_lock: bool,
    /// The operator, as shown to the former holder.
    pub by: Option<Arc<str>>,
    /// The reason, as shown to the former holder.
    pub reason: Option<Reason>,
}

/// The reason why a waiter leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaveReason {
    /// Its waiting time is over.
    TimedOut,
    /// Its connection was closed.
    HungUp,
    /// Its replica stops, refuses all writes or was declared dead, or no waiter there belongs to the row.
    Evicted,
    /// The waiter does not leave. Its row seems to be missing, and the reply reports what became of it.
    Missing,
}

impl LeaveReason {
    /// Whether a caller waits for the reply. Otherwise a grant in the reply is only found, and answered to nobody.
    pub const fn has_caller(self) -> bool {
        matches!(self, Self::TimedOut | Self::Missing)
    }
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
    /// Read a lock or semaphore.
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
        /// The version of the active grant, if there is one.
        version: Option<Version>,
    },
    /// Create or resize a semaphore.
    PutSemaphore {
        /// The maximum number of active permits, 1 to 1,000,000.
        max_size: i32,
        /// The default lease of its permits in milliseconds; `None` keeps it.
        lease_ms: Option<i64>,
        /// The default lease of a new semaphore for which none is given, in milliseconds.
        default_lease_ms: i64,
        /// Whether the semaphore is guarded from now on; `None` keeps it.
        guarded: Option<bool>,
    },
    /// Delete a semaphore without active permits.
    DeleteSemaphore,
    /// Let a waiter of this replica leave the queue.
    Leave {
        /// The version of the waiter.
        version: Version,
        /// The request id of the waiter. A later request with the same version is left alone.
        request_id: RequestId,
        /// The reason.
        reason: LeaveReason,
    },
    /// Undo an acquire whose answer never reached its caller: end its grant, unless another request was answered with the
    /// grant, too, or take it out of the queue.
    GiveBack {
        /// The version of the grant that was answered, or of the acquire.
        version: Version,
        /// The request id of the acquire. A later request with the same version is left alone.
        request_id: RequestId,
    },
    /// Mark the grant of an acquire whose answer reached nobody as kept for a repeat of that acquire.
    Keep {
        /// The version of the acquire.
        version: Version,
        /// The request id of the acquire. A later request with the same version is left alone.
        request_id: RequestId,
    },
    /// Serve the queue, because time has passed or a place was offered.
    ServeQueue,
    /// Remove the waiters of a dead replica from the queue.
    ReapReplica {
        /// The replica.
        replica: ReplicaId,
    },
    /// List an expired grant for the audit log, once, if its key was not written since.
    NoteExpiry {
        /// The version of the grant.
        version: Version,
    },
    /// Delete a lock that nobody needs any more.
    Sweep {
        /// A lock with an ended `delete_on_release` grant is deleted if the grant ended before this time.
        ended_before: Timestamp,
        /// A free lock is deleted if it was not changed since this time; `None` keeps free locks.
        idle_since: Option<Timestamp>,
    },
}

impl Command {
    /// Whether the command goes before those that are not urgent. Heartbeats, releases and other commands that may free
    /// a key are urgent. Leaves are not, since thousands of waiters may leave at once.
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

    /// Whether the decision or the answer needs the number of all permits of a semaphore.
    pub const fn counts_permits(&self) -> bool {
        matches!(self, Self::Get(Kind::Semaphore) | Self::PutSemaphore { .. } | Self::DeleteSemaphore)
    }

    /// Whether the answer may have to contain a waiter's position in the queue.
    pub const fn may_show_position(&self) -> bool {
        match self {
            Self::Acquire(acquire) => acquire.chosen || acquire.retried,
            Self::Leave { reason, .. } => matches!(reason, LeaveReason::TimedOut),
            _ => false,
        }
    }

    /// The version by which permits and waiters have to be looked up.
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
