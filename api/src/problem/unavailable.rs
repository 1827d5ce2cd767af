//! The texts of a 503: the dependency or limit that is the cause, and when to try again.

use db_locks_service::Unavailable;

use super::{Problem, ProblemKind};

impl From<Unavailable> for Problem {
    fn from(reason: Unavailable) -> Self {
        Self {
            retry_after_s: Some(retry_after_s(reason)),
            ..Self::new(ProblemKind::Unavailable, detail(reason))
        }
    }
}

/// The `detail` of a 503.
const fn detail(reason: Unavailable) -> &'static str {
    match reason {
        Unavailable::DatabaseOutOfReach => {
            "The database is out of reach. The service's log has the cause; nothing was changed."
        }
        Unavailable::RowLocked => {
            "The database is out of reach for this key: another session keeps its row locked. Nothing was changed."
        }
        Unavailable::DatabaseReadOnly => {
            "The database is read-only: it is a standby, in recovery, or set to refuse writes. Nothing was changed."
        }
        Unavailable::SeveralWritable => {
            "Two writable servers: several hosts of the database accept writes, and the service cannot know which of them \
             is the right one. Nothing was changed."
        }
        Unavailable::DiskFull => "Disk full: the database has no room left to write. Nothing was changed.",
        Unavailable::DatabaseRefused => {
            "The database refused the request. The service's log has the cause; nothing was changed."
        }
        Unavailable::UnreadableKey => {
            "The stored data of this key cannot be read. The service's log has the cause; nothing was changed."
        }
        Unavailable::OtherSchema => {
            "The database's schema is older or newer than this version of the service. `db-locks migrate status` lists \
             the migrations."
        }
        Unavailable::FileReplaced => {
            "The SQLite file was deleted, moved or replaced while the service ran. Put it back, or start the service again."
        }
        Unavailable::UnknownOutcome => {
            "The database did not answer in time, or the connection to it broke. It is not known whether the request was \
             carried out. An acquire may be sent again with the same `version`. Otherwise its grant, if there is one, is \
             given back."
        }
        Unavailable::LeaseOver => {
            "The database took longer than the lease, so the lease has ended. Try again, with a longer \
             `lease_duration_ms` if this happens often."
        }
        Unavailable::Overloaded => "The service is overloaded. Try again in a moment.",
        Unavailable::Connections => {
            "Too many connections are open: their limit is reached (DB_LOCKS_MAX_HTTP_CONNECTIONS)."
        }
        Unavailable::KeysOfIssuer => {
            "The keys of the token's issuer cannot be read. The service's log has the cause; nothing was changed."
        }
        Unavailable::LargeAnswers => {
            "The service is overloaded: too many large answers were not read by their clients yet. Ask for smaller pages, \
             or try again in a moment."
        }
        Unavailable::KeyWaiters => {
            "Too many requests already wait for this key: the limit of the key's waiters is reached \
             (DB_LOCKS_MAX_WAITERS_PER_KEY)."
        }
        Unavailable::TenantWaiters => {
            "Too many requests of this tenant already wait: the limit of the tenant's waiters is reached \
             (DB_LOCKS_MAX_WAITERS_PER_TENANT)."
        }
        Unavailable::TenantStorage => {
            "The tenant's storage is used up: its limit is reached (DB_LOCKS_MAX_BYTES_PER_TENANT), and the request would \
             create a key or store more data. Nothing was changed. Delete keys that are not needed; deleted keys count \
             until they are swept."
        }
        Unavailable::ProcessWaiters => {
            "The service is overloaded: too many requests already wait in this process (DB_LOCKS_MAX_WAITERS)."
        }
        Unavailable::PlaceLost => "The place in the queue was lost. Try again.",
        Unavailable::ShuttingDown => "The service is shutting down. Try again: another replica may answer.",
        Unavailable::Fault => "The service has failed. Its log has the cause under this request id.",
    }
}

/// After how many seconds to try again. Short if the cause passes by itself (a failover, overload), longer if an operator has
/// to act first.
const fn retry_after_s(reason: Unavailable) -> i64 {
    match reason {
        Unavailable::DiskFull
        | Unavailable::OtherSchema
        | Unavailable::FileReplaced
        | Unavailable::TenantStorage
        | Unavailable::UnreadableKey
        | Unavailable::KeysOfIssuer => 10,
        Unavailable::KeyWaiters | Unavailable::TenantWaiters | Unavailable::ProcessWaiters => 2,
        Unavailable::DatabaseOutOfReach
        | Unavailable::RowLocked
        | Unavailable::DatabaseReadOnly
        | Unavailable::SeveralWritable
        | Unavailable::DatabaseRefused
        | Unavailable::UnknownOutcome
        | Unavailable::LeaseOver
        | Unavailable::Overloaded
        | Unavailable::Connections
        | Unavailable::LargeAnswers
        | Unavailable::PlaceLost
        | Unavailable::ShuttingDown
        | Unavailable::Fault => 1,
    }
}
