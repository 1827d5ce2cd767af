//! The errors of the engine itself.

use crate::{store::StoreError, unavailable::Unavailable};

/// The reason why the engine could not answer a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineError {
    /// More acquires are queued than can be served in time.
    Overloaded,
    /// The database did not answer in time; nothing was written.
    Unreachable,
    /// The database accepts no writes; nothing was written.
    ReadOnly,
    /// Several servers of the database accept writes; nothing was written.
    SeveralWritable,
    /// The database's disk is full; nothing was written.
    DiskFull,
    /// Another session of the database keeps the key's row locked; nothing was written.
    RowLocked,
    /// The database may have written the command, and could not be asked in time. A grant that was written is given
    /// back.
    UnknownOutcome,
    /// The database refused this command; the log has the cause.
    Rejected,
    /// The rows of the key are inconsistent; the log has the cause.
    Unreadable,
    /// This program cannot write to the database's schema.
    Schema,
    /// The SQLite file is no longer at its path.
    FileReplaced,
    /// The service is shutting down.
    Draining,
    /// The write took longer than the lease.
    LeaseOver,
    /// The other replicas declared this one dead, and its waiters lost their places.
    PlaceLost,
}

impl EngineError {
    /// The error for callers while an error of the store lasts until an operator acts; `None` if the error may pass.
    pub(crate) const fn of_lasting(error: &StoreError) -> Option<Self> {
        match error {
            StoreError::Schema(_) => Some(Self::Schema),
            StoreError::FileReplaced(_) => Some(Self::FileReplaced),
            StoreError::Unreachable(_)
            | StoreError::Unknown(_)
            | StoreError::Transient(_)
            | StoreError::Blocked(_)
            | StoreError::GuardOpen(_)
            | StoreError::ReadOnly(_)
            | StoreError::SeveralWritable(_)
            | StoreError::DiskFull(_)
            | StoreError::Overloaded(_)
            | StoreError::Rejected(_) => None,
        }
    }
}

impl From<EngineError> for Unavailable {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Overloaded => Self::Overloaded,
            EngineError::Unreachable => Self::DatabaseOutOfReach,
            EngineError::ReadOnly => Self::DatabaseReadOnly,
            EngineError::SeveralWritable => Self::SeveralWritable,
            EngineError::DiskFull => Self::DiskFull,
            EngineError::RowLocked => Self::RowLocked,
            EngineError::UnknownOutcome => Self::UnknownOutcome,
            EngineError::Rejected => Self::DatabaseRefused,
            EngineError::Unreadable => Self::UnreadableKey,
            EngineError::Schema => Self::OtherSchema,
            EngineError::FileReplaced => Self::FileReplaced,
            EngineError::Draining => Self::ShuttingDown,
            EngineError::LeaseOver => Self::LeaseOver,
            EngineError::PlaceLost => Self::PlaceLost,
        }
    }
}
