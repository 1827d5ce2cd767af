//! Why a request cannot be carried out now: one list for all layers, with the texts for logs. The API has those for callers.

use crate::domain::WaiterLimit;

/// The dependency or limit because of which a request is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The database cannot be reached or does not answer in time. Nothing was written.
    #[error("the database is out of reach")]
    DatabaseOutOfReach,
    /// Another session of the database keeps the row of the key locked. Nothing was written.
    #[error("the key's row is locked")]
    RowLocked,
    /// The database refuses writes: it is a standby, in recovery, or set to read-only.
    #[error("the database is read-only")]
    DatabaseReadOnly,
    /// Several servers of the database accept writes, and it is unknown which of them is the right one.
    #[error("two servers of the database accept writes")]
    SeveralWritable,
    /// The database has no room left.
    #[error("the database's disk is full")]
    DiskFull,
    /// The database refused this one statement; the log has the cause.
    #[error("the database refused the request")]
    DatabaseRefused,
    /// The stored rows of the key make no sense; the log has the cause.
    #[error("what is stored for the key cannot be read")]
    UnreadableKey,
    /// The schema is older or newer than this program.
    #[error("the database's schema is of another version")]
    OtherSchema,
    /// The SQLite file was deleted, moved or replaced while the service ran.
    #[error("the SQLite file was replaced")]
    FileReplaced,
    /// A write was sent and its outcome could not be found out.
    #[error("the outcome is unknown")]
    UnknownOutcome,
    /// The write took longer than the lease that it granted.
    #[error("the lease ended before it could be answered")]
    LeaseOver,
    /// More requests are queued than can be served in time.
    #[error("overloaded")]
    Overloaded,
    /// The limit of open client connections is reached.
    #[error("too many connections")]
    Connections,
    /// The keys that an issuer signs tokens with could not be read since the start.
    #[error("the keys of an issuer cannot be read")]
    KeysOfIssuer,
    /// The limit of bytes in large answers that clients have not read yet is reached.
    #[error("too many large answers")]
    LargeAnswers,
    /// The limit of requests that wait for the key is reached.
    #[error("too many waiters of the key")]
    KeyWaiters,
    /// The limit of the tenant's waiting requests is reached.
    #[error("too many waiters of the tenant")]
    TenantWaiters,
    /// The limit of the tenant's storage is reached.
    #[error("the tenant's storage is used up")]
    TenantStorage,
    /// The limit of waiting requests in this process is reached.
    #[error("too many waiters of this process")]
    ProcessWaiters,
    /// The request lost its place in the queue, because its replica was declared dead or was too slow.
    #[error("the place in the queue was lost")]
    PlaceLost,
    /// The service is shutting down.
    #[error("the service is shutting down")]
    ShuttingDown,
    /// The service itself has failed; the log has the cause.
    #[error("the service is in error")]
    Fault,
}

impl From<WaiterLimit> for Unavailable {
    fn from(limit: WaiterLimit) -> Self {
        match limit {
            WaiterLimit::Key => Self::KeyWaiters,
            WaiterLimit::Tenant => Self::TenantWaiters,
            WaiterLimit::Replica => Self::ProcessWaiters,
        }
    }
}
