//! Why a request was not served.

use crate::{
    domain::{Kind, Refusal},
    engine::EngineError,
    unavailable::Unavailable,
};

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The rules of locking say no.
    #[error("refused: {refusal:?}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// Whether the request was about a lock or about a semaphore.
        asked: Kind,
    },
    /// A lock cannot be guarded on this database.
    #[error("not guarded: {0}")]
    NotGuarded(String),
    /// Something that the service depends on, or one of its limits, stands in the way. The cause was logged where it
    /// happened.
    #[error("unavailable: {0}")]
    Unavailable(Unavailable),
}

impl From<EngineError> for ServiceError {
    fn from(error: EngineError) -> Self {
        Self::Unavailable(error.into())
    }
}
