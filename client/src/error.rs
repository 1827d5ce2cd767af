//! What can go wrong.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The result of a call.
pub type LockResult<T> = Result<T, LockError>;

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Others held the lock for the whole wait (status 423).
    #[error("not granted: {0}")]
    NotGranted(Box<NotGranted>),
    /// The grant has ended: its lease is over, it was released, or it was ended by force.
    #[error("the lock is lost: {0}")]
    Lost(String),
    /// There is no such lock or semaphore.
    #[error("not found: {0}")]
    NotFound(String),
    /// The state of the lock or semaphore does not allow this: it is in use, or of the other kind.
    #[error("{0}")]
    Conflict(Problem),
    /// The request is not valid.
    #[error("not valid: {0}")]
    Validation(String),
    /// The credentials are missing, unknown, or do not allow this (status 401 and 403).
    #[error("access denied: {0}")]
    AccessDenied(Problem),
    /// The service cannot answer now (status 503), or the credential asks too often (429).
    #[error("the service is unavailable: {detail}")]
    Unavailable {
        /// Which limit or dependency it was.
        detail: String,
        /// When to ask again.
        retry_after: Duration,
    },
    /// No answer came: the service is out of reach.
    #[error("the service is out of reach: {0}")]
    Unreachable(String),
    /// The engine in this process has failed by an error in its program, and ended. All locks of its client are lost; a new client
    /// starts another engine.
    #[error("the engine has failed: {0}")]
    EngineFailed(String),
    /// What answered is not a db-locks service.
    #[error("the answer is not one of db-locks: {0}")]
    InvalidAnswer(String),
}

impl LockError {
    /// Whether the same call may succeed a little later.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Unreachable(_))
    }

    /// Whether the service may have done what was asked although this error came.
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
    /// What kind of problem it is: a path that the service explains.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The status code.
    pub status: u16,
    /// What happened here.
    #[serde(default)]
    pub detail: String,
    /// The members that only some kinds have.
    #[serde(flatten)]
    pub members: serde_json::Map<String, serde_json::Value>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.detail.is_empty() { &self.title } else { &self.detail })
    }
}

/// Who is in the way of an acquire.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NotGranted {
    /// `no_wait` or `timed_out`.
    #[serde(default)]
    pub reason: String,
    /// What happened, in words.
    #[serde(default)]
    pub detail: String,
    /// Who holds it: at most the ten whose leases end first.
    #[serde(default)]
    pub holders: Vec<Holder>,
    /// How many others wait.
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
    /// Its owner.
    pub owner: String,
    /// When its lease ends, in RFC 3339.
    pub expires_at: String,
    /// How long that is from the answer, in milliseconds.
    pub expires_in_ms: u64,
}
