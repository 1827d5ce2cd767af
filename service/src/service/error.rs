//! Why a request was not served.

use crate::{
    domain::{Kind, Refusal},
    unavailable::Unavailable,
};

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The rules of locking refuse the request.
    #[error("refused: {refusal:?}")]
    Refused {
        /// The reason.
        refusal: Refusal,
        /// Whether the request was about a lock or about a semaphore.
        asked: Kind,
    },
    /// A lock cannot be guarded on this database.
    #[error("not guarded: {0}")]
    NotGuarded(String),
    /// A dependency or a limit of the service prevents it. The cause was logged where it occurred.
    #[error("unavailable: {0}")]
    Unavailable(Unavailable),
}

impl From<Unavailable> for ServiceError {
    fn from(reason: Unavailable) -> Self {
        Self::Unavailable(reason)
    }
}
