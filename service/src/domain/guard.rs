//! Guards: the proof by `db_locks_guard`, in a user's transaction, that a grant still counts.
//!
//! A guarded key has a row of its own in `db_locks_guards` that names the grant whose transactions may commit. A user's
//! transaction keeps that row locked from its call of the guard to its end. So the row can only be changed while no
//! such transaction is open. A change of the holder changes the row in the same commit.

use std::{collections::BTreeSet, sync::Arc};

use super::{Token, Version};

/// The state of a mutex and its guard row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Guard {
    /// The key is not guarded.
    #[default]
    Off,
    /// The key is guarded, and its guard row names no grant.
    Free,
    /// The guard row names the last grant, which was not ended.
    Named,
    /// The guard row names the last grant, which was ended while its lease was active: a transaction that called the
    /// guard was open. The lock is not free before that transaction has ended.
    EndingHeld,
    /// The same, but the lease had expired before the grant was ended.
    EndingExpired,
}

impl Guard {
    /// Whether the key is guarded.
    pub const fn is_on(self) -> bool {
        !matches!(self, Self::Off)
    }

    /// Whether the guard row names the last grant.
    pub const fn is_named(self) -> bool {
        matches!(self, Self::Named | Self::EndingHeld | Self::EndingExpired)
    }

    /// Whether the last grant was ended and only its guard row still has to be changed.
    pub const fn is_ending(self) -> bool {
        matches!(self, Self::EndingHeld | Self::EndingExpired)
    }
}

/// Guard rows that could not be locked, because a transaction that called the guard is open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuardBusy {
    /// The session of that transaction, if the database shows it.
    pub session: Option<Arc<str>>,
    /// The slots of the rows; 0 for a mutex.
    pub slots: BTreeSet<i32>,
}

/// The maximum size of a guarded semaphore: each grant reads all of its guard rows.
pub const MOST_GUARDED_PERMITS: i32 = 1_000;

/// The change of a guard row that belongs to the change of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardEdit {
    /// The slot of the permit; 0 for a mutex.
    pub slot: i32,
    /// The grant that the row names from now on; `None` for no grant.
    pub version: Option<Version>,
    /// The token of that grant, unless the store raises it.
    pub token: Token,
}
