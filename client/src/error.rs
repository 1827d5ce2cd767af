//! The errors of calls.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The result of a call.
pub type LockResult<T> = Result<T, LockError>;

/// The reason why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Others held the lock for the whole wait (status 423).
    #[error("not granted: {0}")]
    NotGranted(Box<NotGranted>),
    /// The grant has ended: its lease ended, it was released, or an operator ended it by force.
    #[error("the lock is lost: {0}")]
    Lost(String),
    /// The lock or semaphore does not exist.
    #[error("not found: {0}")]
    NotFound(String),
    /// The state of the lock or semaphore does not allow the call: it is in use, or of the other kind.
    #[error("{0}")]
    Conflict(Problem),
    /// The request is not valid.
    #[error("not valid: {0}")]
    Validation(String),
    /// The credentials are missing or unknown, or do not allow the call (status 401 and 403).
    #[error("access denied: {0}")]
    AccessDenied(Problem),
    /// The service cannot answer now (status 503), or the credential exceeded its rate limit (status 429).
    #[error("the service is unavailable: {detail}")]
    Unavailable {
        /// The limit or dependency that was the reason.
        detail: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// There was no answer: the service is out of reach.
    #[error("the service is out of reach: {0}")]
    Unreachable(String),
    /// The engine in this process panicked and ended. All locks of its client are lost. A new client starts another engine.
    #[error("the engine has failed: {0}")]
    EngineFailed(String),
    /// The answer did not come from a db-locks service.
    #[error("the answer is not one of db-locks: {0}")]
    InvalidAnswer(String),
}

impl LockError {
    /// Whether the same call may succeed after a pause.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Unreachable(_))
    }

    /// Whether the service answered that it is shutting down. Another replica, or this one after a restart, may answer soon.
    pub fn is_shutting_down(&self) -> bool {
        // These words are part of the API.
        matches!(self, Self::Unavailable { detail, .. } if detail.contains("shutting down"))
    }

    /// Whether the service may have carried out the call despite this error.
    pub(crate) fn is_outcome_unknown(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. } | Self::Unreachable(_) | Self::InvalidAnswer(_) | Self::EngineFailed(_)
        )
    }
}

/// A problem document of the service (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Problem {
    /// The kind of problem: a path of the service that explains it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name of the kind.
    pub title: String,
    /// The status code.
    pub status: u16,
    /// What happened in this case.
    #[serde(default)]
    pub detail: String,
    /// The members that depend on the kind.
    #[serde(flatten)]
    pub members: serde_json::Map<String, serde_json::Value>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.detail.is_empty() { &self.title } else { &self.detail })
    }
}

/// The holders and waiters that an acquire did not get past.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NotGranted {
    /// `no_wait` or `timed_out`.
    #[serde(default)]
    pub reason: String,
    /// What happened, as text.
    #[serde(default)]
    pub detail: String,
    /// The holders: at most the ten whose leases end first.
    #[serde(default)]
    pub holders: Vec<Holder>,
    /// The number of waiters in the queue.
    #[serde(default)]
    pub waiters: u64,
}

impl std::fmt::Display for NotGranted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(first) = self.holders.first() else { return f.write_str(&self.detail) };
        let seconds = Duration::from_millis(first.expires_in_ms).as_secs_f64();
        write!(f, "held by {} for another {seconds:.1} s unless renewed", first.owner)?;
        match self.holders.len() - 1 {
            0 => Ok(()),
            others => write!(f, ", and by {others} more"),
        }
    }
}

/// One holder of a lock or permit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Holder {
    /// The owner.
    pub owner: String,
    /// When the lease ends, in RFC 3339.
    pub expires_at: String,
    /// The time from the answer to the end of the lease, in milliseconds.
    pub expires_in_ms: u64,
}
