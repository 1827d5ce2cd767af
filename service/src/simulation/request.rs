//! Requests and answers of clients: the operations of the contract, as the service's methods have them.

use std::fmt;

use crate::{
    AcquireRequest, LockService, ServiceError,
    domain::{
        Data, DataEdit, ForcedRelease, KeyId, Kind, LockView, Refusal, Release, SemaphoreView, Version,
    },
};

/// One operation on a key.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    Acquire(AcquireRequest),
    Heartbeat {
        kind: Kind,
        version: Version,
        lease_ms: Option<i64>,
        data: DataEdit,
    },
    Release(Release),
    /// An operator ends a grant by force.
    Force {
        kind: Kind,
        version: Version,
    },
    Get(Kind),
    PutLock(Data),
    DeleteLock(Option<Version>),
    PutSemaphore(i32),
    DeleteSemaphore,
}

impl Ask {
    /// The longest wait for a lock, in milliseconds.
    pub(super) fn wait_ms(&self) -> i64 {
        match self {
            Self::Acquire(acquire) => acquire.wait_ms.or(acquire.lease_ms).unwrap_or(15_000),
            _ => 0,
        }
    }

    /// The version of the grant that the operation may end.
    pub(super) fn ends(&self) -> Option<Version> {
        match self {
            Self::Release(Release { version, .. }) | Self::Force { version, .. } => Some(*version),
            Self::DeleteLock(version) => *version,
            _ => None,
        }
    }
}

/// The answer to an operation.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Granted(LockView),
    Released(LockView),
    Lock(LockView),
    Semaphore(SemaphoreView),
    Deleted,
    Refused(Refusal),
    Unavailable(String),
}

impl Answer {
    fn of<T>(result: Result<T, ServiceError>, answer: impl FnOnce(T) -> Self) -> Self {
        match result {
            Ok(value) => answer(value),
            Err(ServiceError::Refused { refusal, .. }) => Self::Refused(refusal),
            Err(error) => Self::Unavailable(error.to_string()),
        }
    }
}

/// Runs an operation. A granted acquire is returned with its delivery.
pub(super) async fn carry_out(
    service: &LockService,
    id: KeyId,
    ask: Ask,
) -> (Answer, Option<crate::Delivery>) {
    let answer = match ask {
        Ask::Acquire(request) => match service.acquire(id, request).await {
            Ok(delivery) => return (Answer::Granted(delivery.view().clone()), Some(delivery)),
            Err(error) => Answer::of(Err(error), Answer::Granted),
        },
        Ask::Heartbeat { kind, version, lease_ms, data } => {
            Answer::of(service.heartbeat(id, kind, version, lease_ms, data).await, Answer::Granted)
        }
        Ask::Release(release) => Answer::of(service.release(id, release).await, Answer::Released),
        Ask::Force { kind, version } => {
            let (data, delete_lock, by, reason) = (DataEdit::Keep, false, None, None);
            let forced = ForcedRelease { kind, version: Some(version), data, delete_lock, by, reason };
            Answer::of(service.force_release(id, forced).await, Answer::Released)
        }
        Ask::Get(Kind::Mutex) => Answer::of(service.get_lock(id).await, Answer::Lock),
        Ask::Get(Kind::Semaphore) => Answer::of(service.get_semaphore(id).await, Answer::Semaphore),
        Ask::PutLock(data) => {
            Answer::of(service.put_lock(id, Some(data), None).await, |(view, _)| Answer::Lock(view))
        }
        Ask::DeleteLock(version) => Answer::of(service.delete_lock(id, version).await, |()| Answer::Deleted),
        Ask::PutSemaphore(size) => {
            Answer::of(service.put_semaphore(id, size, None, None).await, |(view, _)| Answer::Semaphore(view))
        }
        Ask::DeleteSemaphore => Answer::of(service.delete_semaphore(id).await, |()| Answer::Deleted),
    };
    (answer, None)
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acquire(acquire) => {
                write!(f, "acquire by {:?}", acquire.owner)?;
                if let Some(version) = acquire.version {
                    write!(f, " with {}", short(version))?;
                }
                write!(f, " lease {:?} wait {:?}", acquire.lease_ms, acquire.wait_ms)?;
                for (word, is) in [
                    ("reentrant", acquire.reentrant),
                    ("delete_on_release", acquire.delete_on_release),
                    ("only_if_exists", acquire.only_if_exists),
                    ("replace_data", acquire.replace_data),
                    ("guarded", acquire.guarded),
                ] {
                    if is {
                        write!(f, " {word}")?;
                    }
                }
                Ok(())
            }
            Self::Heartbeat { version, lease_ms, .. } => {
                write!(f, "heartbeat {} lease {lease_ms:?}", short(*version))
            }
            Self::Release(release) => {
                write!(f, "release {}", short(release.version))?;
                if release.delete_lock { f.write_str(" and delete") } else { Ok(()) }
            }
            Self::Force { version, .. } => write!(f, "force {}", short(*version)),
            Self::Get(kind) => write!(f, "get {kind:?}"),
            Self::PutLock(data) => write!(f, "put {data:?}"),
            Self::DeleteLock(None) => f.write_str("delete"),
            Self::DeleteLock(Some(version)) => write!(f, "delete {}", short(*version)),
            Self::PutSemaphore(size) => write!(f, "put semaphore of {size}"),
            Self::DeleteSemaphore => f.write_str("delete semaphore"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted(view) | Self::Lock(view) | Self::Released(view) => {
                let what = match self {
                    Self::Granted(_) => "200 granted",
                    Self::Released(_) => "200 released",
                    _ => "200 lock",
                };
                write!(f, "{what}, token {}", view.fencing_token.0)?;
                let Some(held) = &view.held else { return Ok(()) };
                let Version(_) = held.version;
                write!(f, ", {} for {} ms", short(held.version), held.expires_in_ms)
            }
            Self::Semaphore(view) => {
                write!(f, "200 semaphore {}/{}, {} wait", view.busy_count, view.max_size, view.waiters)
            }
            Self::Deleted => f.write_str("204 deleted"),
            Self::Refused(Refusal::NotGranted(not)) => {
                let owners: Vec<_> = not.holders.iter().map(|holder| &holder.owner).collect();
                write!(f, "423 {:?}, held by {owners:?}, {} wait", not.reason, not.waiters)
            }
            Self::Refused(refusal) => write!(f, "refused: {refusal:?}"),
            Self::Unavailable(reason) => write!(f, "503 {reason}"),
        }
    }
}

/// The first characters of a version, enough to distinguish it from the others.
pub(super) fn short(version: Version) -> String {
    let text = version.0.as_simple().to_string();
    format!("v-{}", &text[..5])
}
