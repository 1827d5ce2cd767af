//! The errors of the engine itself.

use crate::store::StoreError;

/// The reason why the engine could not answer a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// More acquires are queued than can be served in time.
    #[error("overloaded")]
    Overloaded,
    /// The database did not answer in time; nothing was written.
    #[error("the database is out of reach")]
    Unreachable,
    /// The database accepts no writes; nothing was written.
    #[error("the database is read-only")]
    ReadOnly,
    /// Several servers of the database accept writes; nothing was written.
    #[error("two servers of the database accept writes")]
    SeveralWritable,
    /// The database's disk is full; nothing was written.
    #[error("the database's disk is full")]
    DiskFull,
    /// Another session of the database keeps the key's row locked; nothing was written.
    #[error("the key's row is locked")]
    RowLocked,
    /// The database may have written the command, and could not be asked in time. A grant that was written is given
    /// back.
    #[error("the outcome is unknown")]
    UnknownOutcome,
    /// The database refused this command; the log has the cause.
    #[error("the database refused the write")]
    Rejected,
    /// The rows of the key are inconsistent; the log has the cause.
    #[error("what is stored for the key cannot be read")]
    Unreadable,
    /// This program cannot write to the database's schema.
    #[error("the database's schema cannot be used")]
    Schema,
    /// The SQLite file is no longer at its path.
    #[error("the SQLite file was replaced")]
    FileReplaced,
    /// The service is shutting down.
    #[error("the service is shutting down")]
    Draining,
    /// The write took longer than the lease.
    #[error("the lease ended before it could be answered")]
    LeaseOver,
    /// The other replicas declared this one dead, and its waiters lost their places.
    #[error("the place in the queue was lost")]
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
