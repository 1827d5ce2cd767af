//! `POST /semaphores/{key}/release`

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

/// Which permit to give back.
#[derive(ToSchema)]
pub(crate) struct ReleasePermitBody {
    /// The version of the grant.
    #[schema(value_type = String, format = "uuid")]
    version: Version,
    /// New data. Left out, the data stays.
    #[schema(value_type = Option<String>, max_length = 32_768, pattern = r"^[^\u0000]*$")]
    data: Option<Data>,
}

impl ReadBody for ReleasePermitBody {
    fn read(fields: &mut Fields<'_>, _: &Limits) -> Option<Self> {
        let version = fields.required("version", |fields| fields.version("version"));
        let data = fields.data("data");
        Some(Self { version: version?, data })
    }
}

problems! {
    /// What `release_permit` can answer instead of the permit.
    ReleasePermitProblems: KeysWithBody, NotFound, VersionMismatch, WrongKind
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
        ReleasePermitProblems
    )
)]
pub(crate) async fn release_permit(
    extract::State(app): extract::State<State>,
    KeyWithBody { id, body }: KeyWithBody<ReleasePermitBody>,
) -> Result<Response, Problem> {
    let data = body.data.map_or(DataEdit::Keep, DataEdit::Set);
    let release = Release { kind: Kind::Semaphore, version: body.version, data, delete_lock: false };
    let view = app.service.release(id, release).await?;
    Ok(json(&GrantBody::from(&view)))
}
