//! Translates the engine's answers into the client's types, with the same meaning as answers over HTTP.

use std::{error::Error, time::Duration};

use db_locks_service::{
    Rfc3339, ServiceError, Unavailable,
    domain::{self, Data, LockView, NotGrantedReason, Refusal, SemaphoreView, Timestamp},
    store::{ConnectionRefusal, DatabasePlace, StoreError},
    with_causes,
};

use crate::{
    clock::LeaseInstant,
    error::{Holder, LockError, NotGranted, Problem},
    models::{LockItem, Semaphore},
};

/// Default for [`LockError::Unavailable`]'s `retry_after`, for errors of the engine without a time of their own.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) fn unreachable(error: &dyn Error) -> LockError {
    LockError::Unreachable(error.to_string())
}

pub(super) fn lock(view: &LockView, sent_at: LeaseInstant) -> LockItem {
    let held = view.held.as_ref();
    let key = view.id.key.as_str();
    LockItem {
        key: key.to_owned(),
        tenant: view.id.tenant.as_str().to_owned(),
        semaphore_key: view.is_permit.then(|| key.to_owned()),
        locked: held.is_some(),
        version: held.map(|held| held.version.0.to_string()),
        fencing_token: number(view.fencing_token.0),
        owner: held.map(|held| held.owner.as_str().to_owned()),
        data: view.data.as_ref().map(|data: &Data| data.as_str().to_owned()),
        lease_duration_ms: number(view.lease_ms),
        acquired_at: held.map(|held| time(held.acquired_at)),
        expires_at: held.map(|held| time(held.expires_at)),
        expires_in_ms: held.map(|held| number(held.expires_in_ms)),
        delete_on_release: held.is_some_and(|held| held.delete_on_release),
        guarded: view.guarded,
        waiters: number(view.waiters),
        created_at: time(view.created_at),
        updated_at: time(view.updated_at),
        sent_at: Some(sent_at),
    }
}

pub(super) fn semaphore(view: &SemaphoreView) -> Semaphore {
    Semaphore {
        key: view.id.key.as_str().to_owned(),
        tenant: view.id.tenant.as_str().to_owned(),
        max_size: u32::try_from(view.max_size).unwrap_or_default(),
        busy_count: u32::try_from(view.busy_count).unwrap_or_default(),
        waiters: number(view.waiters),
        lease_duration_ms: number(view.lease_ms),
        guarded: view.guarded,
        created_at: time(view.created_at),
        updated_at: time(view.updated_at),
    }
}

/// The error for a database that could not be opened. A wrong password or an unknown database is not worth another attempt.
pub(super) fn not_opened(place: &DatabasePlace, error: &StoreError) -> LockError {
    // `LockError::Unreachable` says "out of reach" itself.
    let cause: &(dyn Error + 'static) = match error {
        StoreError::Unreachable(cause) => &**cause,
        other => other,
    };
    let said = format!("database {place}: {}", with_causes(cause));
    match error.refused_connection() {
        Some(ConnectionRefusal::Login) => {
            LockError::AccessDenied(problem(401, "unauthorized", "Unauthorized", &said))
        }
        Some(ConnectionRefusal::NoDatabase) => LockError::Validation(said),
        None => LockError::Unreachable(said),
    }
}

pub(super) fn error(error: ServiceError) -> LockError {
    match error {
        ServiceError::Unavailable(reason) => {
            LockError::Unavailable { detail: reason.to_string(), retry_after: RETRY_AFTER }
        }
        ServiceError::Refused { refusal, .. } => refused(refusal),
        ServiceError::NotGuarded(why) => LockError::Validation(format!("guarded: {why}")),
    }
}

fn refused(refusal: Refusal) -> LockError {
    match refusal {
        Refusal::NotFound => {
            LockError::NotFound("the tenant has no lock or semaphore with this key".to_owned())
        }
        Refusal::VersionMismatch => {
            LockError::Lost("the grant with this version has ended, or never existed".to_owned())
        }
        Refusal::LeaseExpired => LockError::Lost("the lease of this version has ended".to_owned()),
        Refusal::Revoked(_) => LockError::Lost("an operator ended the grant by force".to_owned()),
        Refusal::Superseded => LockError::Lost(
            "a later request with the same version took over the place in the queue".to_owned(),
        ),
        Refusal::NotGranted(refusal) => LockError::NotGranted(Box::new(not_granted(&refusal))),
        Refusal::InUse(holders) => {
            let mut problem =
                conflict("in-use", "In use", "The lock is held, or permits of the semaphore are held.");
            let holders: Vec<_> = holders.iter().map(holder).collect();
            // Serializing strings and numbers cannot fail.
            let holders = serde_json::to_value(holders).unwrap_or_default();
            problem.members.insert("holders".to_owned(), holders);
            LockError::Conflict(problem)
        }
        Refusal::WrongKind => LockError::Conflict(conflict(
            "wrong-kind",
            "Wrong kind",
            "The key is a semaphore and was used as a lock, or the reverse.",
        )),
        Refusal::GuardedTransactionOpen { .. } => LockError::Conflict(conflict(
            "guarded-transaction-open",
            "Guarded transaction open",
            "A transaction that called the guard for this grant is open. The grant has ended nevertheless.",
        )),
        Refusal::NotForSemaphores(field) => {
            LockError::Validation(format!("{field}: is not allowed for a semaphore"))
        }
        Refusal::TooLargeToGuard => {
            LockError::Validation("max_size: the semaphore is too large to be guarded".to_owned())
        }
        Refusal::VersionRequired => LockError::Validation("version: is required for a permit".to_owned()),
        Refusal::StorageFull => LockError::Unavailable {
            detail: Unavailable::TenantStorage.to_string(),
            retry_after: RETRY_AFTER,
        },
        Refusal::QueueFull(_) | Refusal::PlaceLost => LockError::Unavailable {
            detail: "too many requests wait, or the place in the queue was lost".to_owned(),
            retry_after: RETRY_AFTER,
        },
    }
}

fn not_granted(refusal: &domain::NotGranted) -> NotGranted {
    let (reason, detail) = match refusal.reason {
        NotGrantedReason::NoWait => {
            ("no_wait", "Others hold the lock or all permits, and the request did not want to wait.")
        }
        NotGrantedReason::TimedOut => {
            ("timed_out", "Others held the lock or all permits for the whole wait.")
        }
        NotGrantedReason::GuardedTransaction => {
            ("guarded_transaction", "An open transaction that called the guard prevents the grant.")
        }
    };
    NotGranted {
        reason: reason.to_owned(),
        detail: detail.to_owned(),
        holders: refusal.holders.iter().map(holder).collect(),
        waiters: number(refusal.waiters),
    }
}

fn holder(holder: &domain::Holder) -> Holder {
    Holder {
        owner: holder.owner.as_str().to_owned(),
        expires_at: time(holder.expires_at),
        expires_in_ms: number(holder.expires_in_ms),
    }
}

fn conflict(name: &str, title: &str, detail: &str) -> Problem {
    problem(409, name, title, detail)
}

fn problem(status: u16, name: &str, title: &str, detail: &str) -> Problem {
    Problem {
        kind: format!("/problems/{name}"),
        title: title.to_owned(),
        status,
        detail: detail.to_owned(),
        members: serde_json::Map::new(),
    }
}

fn time(at: Timestamp) -> String {
    Rfc3339::from(at).as_str().to_owned()
}

/// Converts a number that is never negative.
fn number(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
