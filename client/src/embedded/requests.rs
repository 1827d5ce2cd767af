//! Translates options into the engine's types, which carry the rules. The configurable limits are checked here.

use std::time::Duration;

use db_locks_service::{
    AcquireRequest, Limits,
    domain::{
        DEFAULT_LEASE_MS, Data, DataEdit, ForcedRelease, Key, Kind, NameError, Owner, Reason, Release,
        Version,
    },
};
use uuid::Uuid;

use crate::{
    error::{LockError, LockResult},
    options::{AcquireLockOptions, ReleaseLockOptions},
    random,
};

/// The owner if none is given, as over HTTP.
const ANONYMOUS: &str = "anonymous";
/// The largest size of a semaphore, in permits.
const MAX_SEMAPHORE_SIZE: u32 = 1_000_000;

pub(super) fn invalid(field: &str, error: impl std::fmt::Display) -> LockError {
    LockError::Validation(format!("{field}: {error}"))
}

pub(super) fn key(text: &str) -> LockResult<Key> {
    Key::new(text).map_err(|error| invalid("key", error))
}

pub(super) fn owner(text: &str) -> LockResult<Owner> {
    Owner::new(text).map_err(|error| invalid("owner", error))
}

pub(super) fn version(text: Option<&str>) -> LockResult<Version> {
    let text = text.ok_or_else(|| invalid("version", "there is none, since nobody holds the lock"))?;
    Uuid::try_parse(text).map(Version).map_err(|_| invalid("version", "must be a UUID"))
}

pub(super) fn lease(lease_ms: Option<i64>, limits: &Limits) -> LockResult<Option<i64>> {
    let range = 1..=limits.max_lease_ms;
    match lease_ms {
        Some(lease_ms) if !range.contains(&lease_ms) => {
            Err(invalid("lease_duration_ms", format_args!("must be between 1 and {}", limits.max_lease_ms)))
        }
        lease_ms => Ok(lease_ms),
    }
}

pub(super) fn semaphore_size(max_size: u32) -> LockResult<i32> {
    let size = i32::try_from(max_size).ok().filter(|_| (1..=MAX_SEMAPHORE_SIZE).contains(&max_size));
    size.ok_or_else(|| invalid("max_size", format_args!("must be between 1 and {MAX_SEMAPHORE_SIZE}")))
}

/// The cursor of a list of permits.
pub(super) fn slot(cursor: &str) -> LockResult<i32> {
    cursor.parse().map_err(|_| invalid("cursor", "must be the next_cursor of an earlier page"))
}

pub(super) fn data_edit(data: Option<&str>, delete_data: Option<bool>) -> LockResult<DataEdit> {
    match (data, delete_data == Some(true)) {
        (None, true) => Ok(DataEdit::Delete),
        (Some(_), true) => Err(invalid("delete_data", "must be false together with data")),
        (data, false) => Ok(self::data(data)?.map_or(DataEdit::Keep, DataEdit::Set)),
    }
}

fn data(text: Option<&str>) -> LockResult<Option<Data>> {
    text.map(Data::new).transpose().map_err(|error: NameError| invalid("data", error))
}

/// An acquire that waits as long as the options say. It has a version, so that it can be repeated.
pub(super) fn acquire(
    options: &AcquireLockOptions,
    default_owner: Option<&str>,
    limits: &Limits,
) -> LockResult<AcquireRequest> {
    let named = options.owner.as_deref().or(default_owner);
    let flag = |flag: Option<bool>| flag == Some(true);
    let request = AcquireRequest {
        kind: super::kind(options.uses_semaphore),
        owner: owner(named.unwrap_or(ANONYMOUS))?,
        lease_ms: lease(Some(options.lease_duration_ms).filter(|lease_ms| *lease_ms != 0), limits)?,
        wait_ms: options.override_time_to_wait_for_lock_ms,
        additional_wait_ms: options.additional_time_to_wait_for_lock_ms.unwrap_or_default(),
        data: data(options.data.as_deref())?,
        replace_data: flag(options.replace_data),
        delete_on_release: flag(options.delete_on_release),
        only_if_exists: flag(options.acquire_only_if_already_exists),
        reentrant: flag(options.reentrant),
        guarded: flag(options.guarded),
        version: Some(match options.version.as_deref() {
            Some(text) => version(Some(text))?,
            None => Version(random::version()),
        }),
    };
    if request.reentrant && named.is_none() {
        return Err(invalid("reentrant", "needs an owner"));
    }
    let for_locks =
        request.replace_data || request.delete_on_release || request.only_if_exists || request.reentrant;
    if request.kind == Kind::Semaphore && for_locks {
        return Err(invalid("uses_semaphore", "does not go together with what only locks have"));
    }
    if wait(&request) > Duration::from_millis(limits.max_wait_ms.unsigned_abs()) {
        return Err(invalid("wait_ms", format_args!("must not exceed {} in all", limits.max_wait_ms)));
    }
    Ok(AcquireRequest { wait_ms: Some(millis(wait(&request))), additional_wait_ms: 0, ..request })
}

/// How long an acquire waits in total.
pub(super) fn wait(request: &AcquireRequest) -> Duration {
    let wait_ms = request.wait_ms.or(request.lease_ms).unwrap_or(DEFAULT_LEASE_MS);
    let wait_ms = wait_ms.max(0).saturating_add(request.additional_wait_ms.max(0));
    Duration::from_millis(wait_ms.unsigned_abs())
}

pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn release(options: &ReleaseLockOptions, kind: Kind) -> LockResult<Release> {
    Ok(Release {
        kind,
        version: version(options.version.as_deref())?,
        data: data_edit(options.data.as_deref(), None)?,
        delete_lock: options.delete_lock == Some(true),
    })
}

pub(super) fn forced_release(options: &ReleaseLockOptions, kind: Kind) -> LockResult<ForcedRelease> {
    let reason = options.reason.as_deref().map(Reason::new).transpose();
    Ok(ForcedRelease {
        kind,
        version: options.version.as_deref().map(|text| version(Some(text))).transpose()?,
        data: data_edit(options.data.as_deref(), None)?,
        delete_lock: options.delete_lock == Some(true),
        by: None,
        reason: reason.map_err(|error| invalid("reason", error))?,
    })
}
