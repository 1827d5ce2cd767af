//! Turns replies into results: the answer to a command, or else an error.

use super::error::ServiceError;
use crate::{
    domain::{Kind, LockView, Refusal, Reply, SemaphoreView},
    unavailable::Unavailable,
};

pub(super) fn granted(kind: Kind, reply: Reply) -> Result<LockView, ServiceError> {
    if let Reply::Granted(view) = reply { Ok(view) } else { Err(error_of(kind, reply)) }
}

pub(super) fn released(kind: Kind, reply: Reply) -> Result<LockView, ServiceError> {
    if let Reply::Released(view) = reply { Ok(view) } else { Err(error_of(kind, reply)) }
}

pub(super) fn lock(kind: Kind, reply: Reply) -> Result<(LockView, bool), ServiceError> {
    if let Reply::Lock { view, created } = reply { Ok((view, created)) } else { Err(error_of(kind, reply)) }
}

pub(super) fn semaphore(kind: Kind, reply: Reply) -> Result<(SemaphoreView, bool), ServiceError> {
    if let Reply::Semaphore { view, created } = reply {
        Ok((view, created))
    } else {
        Err(error_of(kind, reply))
    }
}

pub(super) fn deleted(kind: Kind, reply: Reply) -> Result<(), ServiceError> {
    if let Reply::Deleted = reply { Ok(()) } else { Err(error_of(kind, reply)) }
}

/// The error for a reply that is no result: a refusal. Other replies that do not fit the command cannot come from the
/// domain.
pub(super) fn error_of(asked: Kind, reply: Reply) -> ServiceError {
    match reply {
        Reply::Refused(Refusal::QueueFull(limit)) => ServiceError::Unavailable(limit.into()),
        Reply::Refused(Refusal::PlaceLost) => ServiceError::Unavailable(Unavailable::PlaceLost),
        Reply::Refused(refusal) => ServiceError::Refused { refusal, asked },
        other => {
            tracing::error!(reply = ?std::mem::discriminant(&other), "a reply does not fit its command");
            ServiceError::Unavailable(Unavailable::Fault)
        }
    }
}
