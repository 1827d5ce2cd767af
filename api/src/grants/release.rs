//! `POST /locks/{key}/release` and `POST /semaphores/{key}/release`

use axum::{extract, response::Response};
use db_locks_service::domain::{DataEdit, KeyId, Kind, Release};
use utoipa::ToSchema;

use crate::{
    answer::{GrantBody, json},
    http::{App, State},
    problem::{Problem, problems},
    request::{Defaults, Fields, KeyParam, KeyWithBody, ReadBody, TenantParam},
};

/// Which grant to end.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is the schema of what `ReleaseLock` reads")]
struct ReleaseLockBody {
    /// The version of the grant.
    version: String,
    /// New data. Left out, the data stays.
    data: Option<String>,
    /// Deletes the lock too; the fencing tokens of the key keep growing all the same. Must be false for a permit of a
    /// semaphore. Left out, it is false.
    delete_lock: Option<bool>,
}

/// Which permit to give back.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is the schema of what `ReleasePermit` reads")]
struct ReleasePermitBody {
    /// The version of the grant.
    version: String,
    /// New data. Left out, the data stays.
    data: Option<String>,
}

/// The body of a release of a lock.
pub(crate) struct ReleaseLock(Release);

impl ReadBody for ReleaseLock {
    fn read(fields: &mut Fields<'_>, _: &Defaults) -> Option<Self> {
        let release = read_common(Kind::Mutex, fields);
        let delete_lock = fields.flag("delete_lock");
        Some(Self(Release { delete_lock, ..release? }))
    }
}

/// The body of a release of a permit.
pub(crate) struct ReleasePermit(Release);

impl ReadBody for ReleasePermit {
    fn read(fields: &mut Fields<'_>, _: &Defaults) -> Option<Self> {
        read_common(Kind::Semaphore, fields).map(Self)
    }
}

/// Reads the fields that every release has.
fn read_common(kind: Kind, fields: &mut Fields<'_>) -> Option<Release> {
    let version = fields.required("version", |fields| fields.version("version"));
    let data = fields.data("data").map_or(DataEdit::Keep, DataEdit::Set);
    Some(Release { kind, version: version?, data, delete_lock: false })
}

async fn release(app: &App, id: KeyId, release: Release) -> Result<Response, Problem> {
    let view = app.service.release(id, release).await?;
    Ok(json(&GrantBody::from(&view)))
}

problems!(ReleaseProblems: KeysWithBody, NotFound, VersionMismatch, WrongKind);

/// End a grant
///
/// Answers the lock as the release left it. Works after the lease ended too, as long as nobody else was granted the lock,
/// and once more after it was released. Works for a permit of a semaphore too.
#[utoipa::path(
    post,
    path = "/locks/{key}/release",
    tag = "locks",
    params(KeyParam::<false>, TenantParam),
    request_body(
        content = ReleaseLockBody,
        description = "The example ends the grant of acquire's first example.",
        example = json!({"version": "0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42"})
    ),
    responses(
        (status = 200, description = "Released; `locked` is false.", body = GrantBody<'_>),
        ReleaseProblems
    )
)]
pub(crate) async fn release_lock(
    extract::State(app): extract::State<State>,
    KeyWithBody { id, body }: KeyWithBody<ReleaseLock>,
) -> Result<Response, Problem> {
    release(&app, id, body.0).await
}

/// Give a permit back
///
/// Answers the permit as the release left it. Works after the lease ended too, as long as its slot was not granted
/// again, and once more after it was released.
#[utoipa::path(
    post,
    path = "/semaphores/{key}/release",
    tag = "semaphores",
    params(KeyParam::<true>, TenantParam),
    request_body(
        content = ReleasePermitBody,
        description = "The example gives back the permit of acquire's first example.",
        example = json!({"version": "0199a3c0-7b21-4f6e-8c3d-52d0c1b9e864"})
    ),
    responses(
        (status = 200, description = "Given back; `locked` is false.", body = GrantBody<'_>),
        ReleaseProblems
    )
)]
pub(crate) async fn release_permit(
    extract::State(app): extract::State<State>,
    KeyWithBody { id, body }: KeyWithBody<ReleasePermit>,
) -> Result<Response, Problem> {
    release(&app, id, body.0).await
}
