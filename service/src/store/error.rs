//! What can go wrong between the engine and the database, sorted by what is to be done about it.

/// The source of a store error: the database driver's own, for the log and for nobody else.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It could not be reached, or broke off before a write could have been applied: nothing was written.
    #[error("the database is out of reach")]
    Unreachable(#[source] Source),
    /// The connection broke, or the time was up, after a write was sent: it may have been applied, now or in a moment.
    #[error("the fate of a commit is unknown")]
    Unknown(#[source] Source),
    /// A row was locked by somebody else for longer than it is waited for: nothing was written.
    #[error("another session keeps a row locked")]
    Blocked(#[source] Source),
    /// Transactions of users that called the guard are open, for the grants of these slots: nothing was written.
    #[error("a transaction that called the guard is open")]
    GuardOpen(Vec<i32>),
    /// A deadlock, a statement that took too long, a busy file: nothing was written, and it is worth trying again.
    #[error("the database asks to try again")]
    Transient(#[source] Source),
    /// It refused for a reason that will not go away by itself: nothing was written.
    #[error("the database refused the statement")]
    Rejected(#[source] Source),
    /// The server takes no writes: it is a standby, or was made read-only. Nothing was written.
    #[error("the database is read-only")]
    ReadOnly(#[source] Source),
    /// Several servers accept writes, and nothing tells which of them is the right one. Nothing was written.
    #[error("two servers of the database accept writes")]
    SeveralWritable(#[source] Source),
    /// The server's disk is full. Nothing was written.
    #[error("the database's disk is full")]
    DiskFull(#[source] Source),
    /// More is asked than can be served in time. Nothing was sent.
    #[error("the connections to the database are overloaded")]
    Overloaded(#[source] Source),
    /// The schema is not one that this program can write to. Nothing was written.
    #[error("the database's schema cannot be used: {0}")]
    Schema(String),
    /// The SQLite file at the path is not the one that was opened. Nothing was written.
    #[error("the SQLite file is not the one that was opened: {0}")]
    FileReplaced(String),
}

/// What is stored for a key makes no sense. Taken for something else, its lock could be granted a second time.
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
    /// The database did not do its part.
    Database(sea_orm::DbErr),
    /// This key cannot be read, and others can.
    Unreadable(Unreadable),
}

impl From<sea_orm::DbErr> for LoadError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Database(error)
    }
}

impl From<Unreadable> for LoadError {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

impl StoreError {
    /// All that [`Self::kind`] answers, so that each has its metric from the start.
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

    /// The same once more, for another who asked the same question.
    pub(super) fn repeated(&self) -> Self {
        let source = || {
            let causes = std::iter::successors(std::error::Error::source(self), |error| error.source());
            Source::from(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
        };
        match self {
            Self::Unreachable(_) => Self::Unreachable(source()),
            Self::Blocked(_) => Self::Blocked(source()),
            Self::GuardOpen(slots) => Self::GuardOpen(slots.clone()),
            Self::Unknown(_) => Self::Unknown(source()),
            Self::Transient(_) => Self::Transient(source()),
            Self::Rejected(_) => Self::Rejected(source()),
            Self::ReadOnly(_) => Self::ReadOnly(source()),
            Self::SeveralWritable(_) => Self::SeveralWritable(source()),
            Self::DiskFull(_) => Self::DiskFull(source()),
            Self::Overloaded(_) => Self::Overloaded(source()),
            Self::Schema(why) => Self::Schema(why.clone()),
            Self::FileReplaced(what) => Self::FileReplaced(what.clone()),
        }
    }
}
