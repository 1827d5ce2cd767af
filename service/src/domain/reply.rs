//! The answers to commands.

use std::sync::Arc;

use super::{Data, KeyId, Owner, Revocation, Timestamp, Token, Version};

/// A lock, or a permit of a semaphore, as answers show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockView {
    /// Tenant and key.
    pub id: KeyId,
    /// Whether this is a permit of the key's semaphore.
    pub is_permit: bool,
    /// The active grant, if there is one.
    pub held: Option<HeldView>,
    /// The last granted token.
    pub fencing_token: Token,
    /// The stored text.
    pub data: Option<Data>,
    /// The lease of the last grant in milliseconds.
    pub lease_ms: i64,
    /// Whether the key is guarded.
    pub guarded: bool,
    /// The number of waiters.
    pub waiters: i64,
    /// The time of creation.
    pub created_at: Timestamp,
    /// The time of the last change.
    pub updated_at: Timestamp,
}

/// The part of a lock that exists only while the lock is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldView {
    /// The version of the grant.
    pub version: Version,
    /// The owner.
    pub owner: Owner,
    /// When the grant was made.
    pub acquired_at: Timestamp,
    /// When the lease ends.
    pub expires_at: Timestamp,
    /// The remaining time of the lease in milliseconds, never more than is certain.
    pub expires_in_ms: i64,
    /// Whether the lock is deleted when the grant ends.
    pub delete_on_release: bool,
}

/// A semaphore, as answers show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SemaphoreView {
    /// Tenant and key.
    pub id: KeyId,
    /// The maximum number of active permits.
    pub max_size: i32,
    /// Whether the semaphore is guarded.
    pub guarded: bool,
    /// The number of active permits.
    pub busy_count: i64,
    /// The number of waiters.
    pub waiters: i64,
    /// The default lease of its permits in milliseconds.
    pub lease_ms: i64,
    /// The time of creation.
    pub created_at: Timestamp,
    /// The time of the last change.
    pub updated_at: Timestamp,
}

/// A holder of the lock or permit that another caller asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The owner.
    pub owner: Owner,
    /// When the lease ends.
    pub expires_at: Timestamp,
    /// The remaining time of the lease in milliseconds.
    pub expires_in_ms: i64,
}

/// The reason why an acquire was not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotGrantedReason {
    /// The acquire was not to wait.
    NoWait,
    /// The waiting time is over.
    TimedOut,
    /// Only an open transaction that called the guard is in the way.
    GuardedTransaction,
}

/// The details of an acquire that was not granted, because others hold the lock or permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotGranted {
    /// The reason.
    pub reason: NotGrantedReason,
    /// The holders: at most the 10 whose leases end first.
    pub holders: Vec<Holder>,
    /// The number of waiters that are left.
    pub waiters: i64,
    /// The position in the queue when the waiter left, from 1.
    pub queue_position: Option<i64>,
    /// The session of the open transaction that is in the way, if the database shows it.
    pub session: Option<Arc<str>>,
}

/// A limit of the number of waiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaiterLimit {
    /// The limit of one key.
    Key,
    /// The limit of one tenant at this replica.
    Tenant,
    /// The limit of this replica.
    Replica,
}

/// The reason why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No such lock or semaphore.
    NotFound,
    /// The version is not the current one.
    VersionMismatch,
    /// The version is current, but its lease has ended.
    LeaseExpired,
    /// The grant of the version was ended by force.
    Revoked(Revocation),
    /// The lock is held, or permits are active.
    InUse(Vec<Holder>),
    /// A transaction that called the guard for this grant is open. The grant has ended nevertheless.
    GuardedTransactionOpen {
        /// The session of that transaction, if the database shows it.
        session: Option<Arc<str>>,
    },
    /// The key is a semaphore and was used as a lock, or the reverse.
    WrongKind,
    /// A repeat with the same version took over the place in the queue.
    Superseded,
    /// The acquire was not granted, because others hold the lock or permits.
    NotGranted(NotGranted),
    /// This field has no meaning for a semaphore.
    NotForSemaphores(&'static str),
    /// A semaphore of more than [`MOST_GUARDED_PERMITS`](super::MOST_GUARDED_PERMITS) permits cannot be guarded.
    TooLargeToGuard,
    /// A permit can be ended by force only by its version.
    VersionRequired,
    /// The acquire could not wait, because a limit of waiters is reached.
    QueueFull(WaiterLimit),
    /// The tenant has reached its storage limit, and the command would store more.
    StorageFull,
    /// The waiter lost its place, because its replica was declared dead or its connection is gone.
    PlaceLost,
}

/// The reply to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A grant, new, repeated or renewed.
    Granted(LockView),
    /// The lock as the release left it.
    Released(LockView),
    /// A lock that was read or created.
    Lock {
        /// The lock.
        view: LockView,
        /// Whether this command created it.
        created: bool,
    },
    /// A semaphore that was read, created or resized.
    Semaphore {
        /// The semaphore.
        view: SemaphoreView,
        /// Whether this command created it.
        created: bool,
    },
    /// Deleted.
    Deleted,
    /// Nothing to report, for commands of the engine's own.
    Done,
    /// Refused.
    Refused(Refusal),
}

impl Reply {
    /// The version of the grant that this is the answer with. It differs from the version of the acquire, `asked`, if that
    /// was reentrant.
    pub fn granted_version(&self, asked: Version) -> Version {
        let Self::Granted(view) = self else { return asked };
        view.held.as_ref().map_or(asked, |held| held.version)
    }

    /// Raises the token in the reply. The database may have raised the tokens of a write above the decided ones.
    pub const fn raise_token(&mut self, by: i64) {
        match self {
            Self::Granted(view) | Self::Released(view) | Self::Lock { view, .. } => {
                view.fencing_token.0 += by;
            }
            Self::Semaphore { .. } | Self::Deleted | Self::Done | Self::Refused(_) => {}
        }
    }
}
