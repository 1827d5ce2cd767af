//! Errors of the store, sorted by how a caller has to react.

use super::{
    NotLoaded,
    classify::{ConnectionRefusal, refused_connection},
};
use crate::unavailable::Unavailable;

/// The source of a store error: the error of the database driver. It is only logged.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// An error of the database, or of the connection to it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database could not be reached, or the connection broke before a write could have been applied. Nothing was
    /// written.
    #[error("{}", Unavailable::DatabaseOutOfReach)]
    Unreachable(#[source] Source),
    /// The connection broke, or a timeout passed, after a write was sent. The write may have been applied, or may be
    /// applied in a moment.
    #[error("the fate of a commit is unknown")]
    Unknown(#[source] Source),
    /// Another session kept a row locked for too long. Nothing was written.
    #[error("another session keeps a row locked")]
    Blocked(#[source] Source),
    /// Users' transactions that called the guard are still open, for the grants of these slots. Nothing was written.
    #[error("a transaction that called the guard is open")]
    GuardOpen(Vec<i32>),
    /// A deadlock, a statement that took too long, or a busy file. Nothing was written, and a retry is worthwhile.
    #[error("the database asks to try again")]
    Transient(#[source] Source),
    /// The database refused a statement for a reason that will not go away by itself. Nothing was written.
    #[error("the database refused the statement")]
    Rejected(#[source] Source),
    /// The server takes no writes: it is a standby, or was made read-only. Nothing was written.
    #[error("{}", Unavailable::DatabaseReadOnly)]
    ReadOnly(#[source] Source),
    /// Several servers accept writes, and it is unknown which of them is the right one. Nothing was written.
    #[error("{}", Unavailable::SeveralWritable)]
    SeveralWritable(#[source] Source),
    /// The server's disk is full. Nothing was written.
    #[error("{}", Unavailable::DiskFull)]
    DiskFull(#[source] Source),
    /// More requests wait for a connection than can be served in time. Nothing was sent.
    #[error("the connections to the database are overloaded")]
    Overloaded(#[source] Source),
    /// The schema is not one that this program can write to. Nothing was written.
    #[error("the database's schema cannot be used: {0}")]
    Schema(String),
    /// The SQLite file at the path is not the one that was opened. Nothing was written.
    #[error("the SQLite file is not the one that was opened: {0}")]
    FileReplaced(String),
}

/// The stored rows of a key make no sense. To guess their meaning could grant a lock a second time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("what is stored for a key cannot be read: {0}")]
pub struct Unreadable(pub String);

impl From<sea_orm::DbErr> for Unreadable {
    /// A column of a row that was received could not be read.
    fn from(error: sea_orm::DbErr) -> Self {
        Self(error.to_string())
    }
}

/// Why a key could not be loaded.
pub(super) enum LoadError {
    /// The database failed.
    Database(sea_orm::DbErr),
    /// This key was not loaded. Others may be.
    NotLoaded(NotLoaded),
}

impl From<sea_orm::DbErr> for LoadError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Database(error)
    }
}

impl From<Unreadable> for LoadError {
    fn from(unreadable: Unreadable) -> Self {
        Self::NotLoaded(unreadable.into())
    }
}

impl StoreError {
    /// The kinds whose error counters exist from the start. Those of other kinds begin with the first error.
    pub(super) const KINDS: [&'static str; 5] =
        ["unreachable", "unknown_fate", "transient", "rejected", "schema"];

    /// A short name for metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Unknown(_) => "unknown_fate",
            Self::Blocked(_) => "blocked",
            Self::GuardOpen(_) => "guard_open",
            Self::Transient(_) => "transient",
            Self::Rejected(_) => "rejected",
            Self::ReadOnly(_) => "read_only",
            Self::SeveralWritable(_) => "several_writable",
            Self::DiskFull(_) => "disk_full",
            Self::Overloaded(_) => "overloaded",
            Self::Schema(_) => "schema",
            Self::FileReplaced(_) => "file_replaced",
        }
    }

    /// Whether the error lasts until an operator acts.
    pub(crate) const fn is_lasting(&self) -> bool {
        matches!(self, Self::Schema(_) | Self::FileReplaced(_))
    }

    /// The reason why the database's server refused the connection, if it did.
    pub fn refused_connection(&self) -> Option<ConnectionRefusal> {
        let Self::Unreachable(source) = self else { return None };
        refused_connection(&**source)
    }
}

impl From<&StoreError> for Unavailable {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Schema(_) => Self::OtherSchema,
            StoreError::FileReplaced(_) => Self::FileReplaced,
            StoreError::Rejected(_) => Self::DatabaseRefused,
            StoreError::ReadOnly(_) => Self::DatabaseReadOnly,
            StoreError::SeveralWritable(_) => Self::SeveralWritable,
            StoreError::DiskFull(_) => Self::DiskFull,
            StoreError::Overloaded(_) => Self::Overloaded,
            StoreError::Unreachable(_)
            | StoreError::Unknown(_)
            | StoreError::Transient(_)
            | StoreError::Blocked(_)
            | StoreError::GuardOpen(_) => Self::DatabaseOutOfReach,
        }
    }
}
