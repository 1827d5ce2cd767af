//! What a command is answered.

use std::sync::Arc;

use super::{Data, KeyId, Owner, Revocation, Timestamp, Token, Version};

/// A lock, or a permit of a semaphore, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockView {
    /// Tenant and key.
    pub id: KeyId,
    /// Whether it is a permit of the semaphore of that key.
    pub is_permit: bool,
    /// The grant that stands, if one does.
    pub held: Option<HeldView>,
    /// The last token granted.
    pub fencing_token: Token,
    /// The text stored with it.
    pub data: Option<Data>,
    /// The lease of the last grant in milliseconds.
    pub lease_ms: i64,
    /// Whether the key is guarded.
    pub guarded: bool,
    /// How many wait.
    pub waiters: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// The part of a lock that is there only while it is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldView {
    /// The grant's identity.
    pub version: Version,
    /// Who holds it.
    pub owner: Owner,
    /// Since when.
    pub acquired_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// For how long from now, in milliseconds, never more than is certain.
    pub expires_in_ms: i64,
    /// Whether the row goes with the grant.
    pub delete_on_release: bool,
}

/// A semaphore as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SemaphoreView {
    /// Tenant and key.
    pub id: KeyId,
    /// How many permits may be out.
    pub max_size: i32,
    /// Whether it is guarded.
    pub guarded: bool,
    /// How many are out.
    pub busy_count: i64,
    /// How many wait.
    pub waiters: i64,
    /// The default lease of its permits in milliseconds.
    pub lease_ms: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Somebody who holds what another asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Who.
    pub owner: Owner,
    /// Until when.
    pub expires_at: Timestamp,
    /// For how long from now, in milliseconds.
    pub expires_in_ms: i64,
}

/// Why an acquire went empty-handed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotGrantedReason {
    /// It did not want to wait.
    NoWait,
    /// It waited as long as it wanted to.
    TimedOut,
    /// Nothing but an open transaction that called the guard is in the way.
    GuardedTransaction,
}

/// Held by others for the whole wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotGranted {
    /// Why.
    pub reason: NotGrantedReason,
    /// Those who hold it: at most the 10 whose leases end first.
    pub holders: Vec<Holder>,
    /// How many still wait.
    pub waiters: i64,
    /// Its place in the queue when it left, from 1.
    pub queue_position: Option<i64>,
    /// The session of the open transaction that is in the way, where it can be told.
    pub session: Option<Arc<str>>,
}

/// A limit of how many may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaiterLimit {
    /// Of one key.
    Key,
    /// Of one tenant, at this replica.
    Tenant,
    /// Of this replica.
    Replica,
}

/// Why a command was refused.
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
    /// Held, or permits are out.
    InUse(Vec<Holder>),
    /// A transaction that called the guard for this grant is open. The grant is over all the same.
    GuardedTransactionOpen {
        /// The session of that transaction, where it can be told.
        session: Option<Arc<str>>,
    },
    /// A semaphore used as a lock, or the reverse.
    WrongKind,
    /// A repeat with the same version took over its place.
    Superseded,
    /// Held by others for the whole wait.
    NotGranted(NotGranted),
    /// This field means nothing for a semaphore.
    NotForSemaphores(&'static str),
    /// A semaphore of more than [`MOST_GUARDED_PERMITS`](super::MOST_GUARDED_PERMITS) cannot be guarded.
    TooLargeToGuard,
    /// A permit is ended by force only by its version.
    VersionRequired,
    /// It could not wait: as many wait as may.
    QueueFull(WaiterLimit),
    /// The tenant stores as much as it may, and this would make it more.
    StorageFull,
    /// It lost its place: its replica was taken for dead.
    PlaceLost,
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A grant, new, repeated or renewed.
    Granted(LockView),
    /// The lock as the release left it.
    Released(LockView),
    /// A lock, looked at or created.
    Lock {
        /// The lock.
        view: LockView,
        /// Whether this command created it.
        created: bool,
    },
    /// A semaphore, looked at, created or resized.
    Semaphore {
        /// The semaphore.
        view: SemaphoreView,
        /// Whether this command created it.
        created: bool,
    },
    /// Deleted.
    Deleted,
    /// Nothing to say: the engine's own commands.
    Done,
    /// Refused.
    Refused(Refusal),
}

impl Reply {
    /// Adds to the token shown: the database may have raised the tokens of a write above what was decided.
    pub const fn raise_token(&mut self, by: i64) {
        match self {
            Self::Granted(view) | Self::Released(view) | Self::Lock { view, .. } => {
                view.fencing_token.0 += by;
            }
            Self::Semaphore { .. } | Self::Deleted | Self::Done | Self::Refused(_) => {}
        }
    }
}
