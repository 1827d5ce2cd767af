//! `POST /locks/{key}/acquire` and `POST /semaphores/{key}/acquire`

use axum::{extract, response::Response};
use db_locks_service::{
    AcquireRequest,
    domain::{KeyId, Kind},
};
use utoipa::ToSchema;

use crate::{
    answer::{GrantBody, granted},
    auth::Caller,
    http::{App, State},
    problem::{Problem, problems},
    request::{
        Defaults, Fields, KeyWithBody, LockKeyParam, ReadBody, SemaphoreKeyParam, TenantParam, Wait,
        check_refresh_period,
    },
};

/// The lock to take, its lease, and the waiting time. All fields are optional; a field that is null counts as absent.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is the schema of what `AcquireLock` reads")]
struct AcquireLockBody {
    /// The name of the holder, shown to other callers. The default is `anonymous`.
    owner: Option<String>,
    /// The lease, in milliseconds. The default is 15000 (or the maximum, if that is less). With `uses_semaphore` the
    /// default is the lease of the semaphore.
    lease_duration_ms: Option<i64>,
    /// The waiting time, in milliseconds; 0 tries once. The default is the length of the lease.
    wait_ms: Option<i64>,
    /// Waiting time on top of `wait_ms`, in milliseconds. The sum of both must not exceed the maximum of `wait_ms`. The
    /// default is 0.
    additional_time_to_wait_for_lock_ms: Option<i64>,
    /// The longest pause between two checks of a lock that is waited for, in milliseconds, if nothing announces its
    /// release. This service announces every release, so it validates the field and then ignores it. The default is
    /// 500.
    refresh_period_ms: Option<i64>,
    /// Text to store with the lock: up to 32 KiB of UTF-8.
    data: Option<String>,
    /// False: an existing lock keeps its data, and `data` is stored only if it has none. True: `data`, or nothing,
    /// replaces the data of the lock. The default is false.
    replace_data: Option<bool>,
    /// Deletes the lock when this grant ends: at its release, or soon after its lease has ended. The fencing tokens of
    /// the key keep growing nevertheless. The default is false.
    delete_on_release: Option<bool>,
    /// Answers 404 instead of creating the lock. The default is false.
    acquire_only_if_already_exists: Option<bool>,
    /// Answers the active grant, unchanged, if the same `owner` already holds the lock. Requires `owner`. There is no
    /// hold count: the first release ends the grant. The default is false.
    reentrant: Option<bool>,
    /// Guards the lock from this grant on, until the lock is deleted. A transaction that calls `db_locks_guard` in the
    /// database then commits only while this grant is the newest one. By default the lock stays as it is.
    guarded: Option<bool>,
    /// The version of the new grant, chosen by the caller. While the grant is active, a repeat with the same version
    /// answers the same grant, so a retry after a lost answer is safe. After the grant has ended, the answer is 409.
    version: Option<String>,
    /// Takes a permit of the semaphore with this key instead. `replace_data`, `delete_on_release`,
    /// `acquire_only_if_already_exists` and `reentrant` must then be false. The default is false.
    uses_semaphore: Option<bool>,
}

/// The lease of the permit to take, and the waiting time. All fields are optional; a field that is null counts as
/// absent.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is the schema of what `AcquirePermit` reads")]
struct AcquirePermitBody {
    /// The name of the holder, shown to other callers. The default is `anonymous`.
    owner: Option<String>,
    /// The lease, in milliseconds. The default is the lease of the semaphore.
    lease_duration_ms: Option<i64>,
    /// The waiting time, in milliseconds; 0 tries once. The default is the length of the lease.
    wait_ms: Option<i64>,
    /// Waiting time on top of `wait_ms`, in milliseconds. The sum of both must not exceed the maximum of `wait_ms`. The
    /// default is 0.
    additional_time_to_wait_for_lock_ms: Option<i64>,
    /// The longest pause between two checks of a semaphore that is waited for, in milliseconds, if nothing announces a
    /// release. This service announces every release, so it validates the field and then ignores it. The default is
    /// 500.
    refresh_period_ms: Option<i64>,
    /// Text to store with the permit: up to 32 KiB of UTF-8.
    data: Option<String>,
    /// Guards the semaphore from this grant on, until it is deleted. A transaction that calls `db_locks_guard` in the
    /// database then commits only while the grant of the permit has not been ended or replaced. By default the
    /// semaphore stays as it is.
    guarded: Option<bool>,
    /// The version of the new grant, chosen by the caller. While the grant is active, a repeat with the same version
    /// answers the same grant, so a retry after a lost answer is safe. After the grant has ended, the answer is 409.
    version: Option<String>,
}

/// The body of a request for a lock.
pub(crate) struct AcquireLock(AcquireRequest);

impl ReadBody for AcquireLock {
    fn read(fields: &mut Fields<'_>, defaults: &Defaults) -> Option<Self> {
        let mut request = read_common(Kind::Mutex, fields, defaults);
        for (name, flag) in [
            ("replace_data", &mut request.replace_data),
            ("delete_on_release", &mut request.delete_on_release),
            ("acquire_only_if_already_exists", &mut request.only_if_exists),
            ("reentrant", &mut request.reentrant),
        ] {
            *flag = fields.flag(name);
        }
        if request.reentrant && !fields.is_given("owner") {
            fields.error("reentrant", "needs an owner");
        }
        if fields.flag("uses_semaphore") {
            request.kind = Kind::Semaphore;
            for (name, flag) in [
                ("replace_data", request.replace_data),
                ("delete_on_release", request.delete_on_release),
                ("acquire_only_if_already_exists", request.only_if_exists),
                ("reentrant", request.reentrant),
            ] {
                if flag {
                    fields.error(name, "must be false together with uses_semaphore");
                }
            }
        }
        Some(Self(request))
    }
}

/// The body of a request for a permit.
pub(crate) struct AcquirePermit(AcquireRequest);

impl ReadBody for AcquirePermit {
    fn read(fields: &mut Fields<'_>, defaults: &Defaults) -> Option<Self> {
        Some(Self(read_common(Kind::Semaphore, fields, defaults)))
    }
}

/// Reads the fields that every acquire has.
fn read_common(kind: Kind, fields: &mut Fields<'_>, defaults: &Defaults) -> AcquireRequest {
    let owner = fields.owner("owner");
    let lease_ms = fields.lease(defaults);
    let wait = Wait::read(fields, &defaults.limits);
    check_refresh_period(fields);
    AcquireRequest {
        kind,
        owner: owner.unwrap_or_else(|| defaults.owner.clone()),
        lease_ms,
        wait_ms: wait.wait_ms,
        additional_wait_ms: wait.additional_ms,
        data: fields.data("data"),
        replace_data: false,
        delete_on_release: false,
        only_if_exists: false,
        reentrant: false,
        guarded: fields.flag("guarded"),
        version: fields.version("version"),
    }
}

async fn acquire(
    app: &App,
    id: KeyId,
    mut request: AcquireRequest,
    caller: &Caller,
) -> Result<Response, Problem> {
    request.owner = caller.owner(request.owner);
    Ok(granted(app.service.acquire(id, request).await?))
}

problems!(AcquireProblems: KeysWithBody, NotFound, VersionMismatch, WrongKind, Superseded, NotGranted);

/// Take a lock
///
/// Answers the grant, and waits for it while others hold the lock. A lock that does not exist is created. A lock whose
/// lease has ended is free. A caller that disconnects while it waits leaves the queue; if it chose a `version`, its
/// place is kept for 10 seconds.
#[utoipa::path(
    post,
    path = "/locks/{key}/acquire",
    tag = "locks",
    params(LockKeyParam, TenantParam),
    request_body(
        content = Option<AcquireLockBody>,
        examples(
            // Shown in the order of their names. The examples of heartbeat and release use the grant of the first; its
            // lease leaves time to read their descriptions.
            ("chosen version" = (
                summary = "With a version that the caller chose. The examples of heartbeat and release use it. Each version is granted only once: for another grant choose another version, or leave it out.",
                value = json!({
                    "owner": "ci-42", "lease_duration_ms": 300_000, "wait_ms": 10_000, "data": "build 811",
                    "version": "0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42"
                })
            )),
            ("defaults" = (summary = "With all defaults", value = json!({}))),
            ("generated version" = (
                summary = "With a version that the service creates; waits for at most half a minute",
                value = json!({"owner": "ci-42", "lease_duration_ms": 30_000, "wait_ms": 30_000, "data": "build 811"})
            ))
        )
    ),
    responses((status = 200, description = "Granted.", body = GrantBody<'_>), AcquireProblems)
)]
pub(crate) async fn acquire_lock(
    extract::State(app): extract::State<State>,
    KeyWithBody { id, body, caller }: KeyWithBody<AcquireLock>,
) -> Result<Response, Problem> {
    acquire(&app, id, body.0, &caller).await
}

/// Take a permit
///
/// Answers the grant of one permit, and waits for it while all permits are held. The semaphore must exist.
#[utoipa::path(
    post,
    path = "/semaphores/{key}/acquire",
    tag = "semaphores",
    params(SemaphoreKeyParam, TenantParam),
    request_body(
        content = Option<AcquirePermitBody>,
        examples(
            // As for locks: the examples of heartbeat and release use the permit of the first.
            ("chosen version" = (
                summary = "With a version that the caller chose. The examples of heartbeat and release use it. Each version is granted only once: for another permit choose another version, or leave it out.",
                value = json!({
                    "owner": "worker-7", "lease_duration_ms": 300_000, "wait_ms": 10_000,
                    "version": "0199a3c0-7b21-4f6e-8c3d-52d0c1b9e864"
                })
            )),
            ("defaults" = (summary = "With all defaults", value = json!({}))),
            ("generated version" = (
                summary = "With a version that the service creates; waits for at most half a minute",
                value = json!({"owner": "worker-7", "lease_duration_ms": 30_000, "wait_ms": 30_000})
            ))
        )
    ),
    responses((status = 200, description = "Granted.", body = GrantBody<'_>), AcquireProblems)
)]
pub(crate) async fn acquire_permit(
    extract::State(app): extract::State<State>,
    KeyWithBody { id, body, caller }: KeyWithBody<AcquirePermit>,
) -> Result<Response, Problem> {
    acquire(&app, id, body.0, &caller).await
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests;
