//! `POST /locks/{key}/release`

use axum::{extract, response::Response};
use db_locks_service::{
    Limits,
    domain::{Data, DataEdit, Kind, Release, Version},
};
use utoipa::ToSchema;

use crate::{
    answer::{GrantBody, json},
    http::State,
    problem::{Problem, problems},
    request::{Fields, KeyParam, KeyWithBody, ReadBody, TenantParam},
};

/// Which grant to end.
#[derive(ToSchema)]
pub(crate) struct ReleaseLockBody {
    /// The version of the grant.
    #[schema(value_type = String, format = "uuid")]
    version: Version,
    /// New data. Left out, the data stays.
    #[schema(value_type = Option<String>, max_length = 32_768, pattern = r"^[^\u0000]*$")]
    data: Option<Data>,
    /// Deletes the lock too; the fencing tokens of the key keep growing all the same. Must be false for a permit of a
    /// semaphore. Left out, it is false.
    #[schema(value_type = Option<bool>)]
    delete_lock: bool,
}

impl ReadBody for ReleaseLockBody {
    fn read(fields: &mut Fields<'_>, _: &Limits) -> Option<Self> {
        let version = fields.required("version", |fields| fields.version("version"));
        let data = fields.data("data");
        let delete_lock = fields.flag("delete_lock");
        Some(Self { version: version?, data, delete_lock })
    }
}

problems! {
    /// What `release_lock` can answer instead of the lock.
    ReleaseLockProblems: KeysWithBody, NotFound, VersionMismatch, WrongKind
}

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
        ReleaseLockProblems
    )
)]
pub(crate) async fn release_lock(
    extract::State(app): extract::State<State>,
    KeyWithBody { id, body }: KeyWithBody<ReleaseLockBody>,
) -> Result<Response, Problem> {
    let data = body.data.map_or(DataEdit::Keep, DataEdit::Set);
    let release = Release { kind: Kind::Mutex, version: body.version, data, delete_lock: body.delete_lock };
    let view = app.service.release(id, release).await?;
    Ok(json(&GrantBody::from(&view)))
}
