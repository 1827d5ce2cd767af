//! `PUT /locks/{key}`

use axum::{extract, response::Response};
use db_locks_service::domain::Data;
use utoipa::ToSchema;

use crate::{
    answer::{GrantBody, json_created},
    http::State,
    problem::{Problem, problems},
    request::{Defaults, Fields, KeyParam, KeyWithBody, ReadBody, TenantParam},
};

/// What a lock stores while nobody holds it.
#[derive(ToSchema)]
pub(crate) struct PutLockBody {
    /// The data. Left out, the lock has none.
    #[schema(value_type = Option<String>)]
    data: Option<Data>,
    /// Whether the lock is guarded from now on. Left out, it stays as it is; a new one is not.
    guarded: Option<bool>,
}

impl ReadBody for PutLockBody {
    fn read(fields: &mut Fields<'_>, _: &Defaults) -> Option<Self> {
        Some(Self { data: fields.data("data"), guarded: fields.given_flag("guarded") })
    }
}

problems!(PutLockProblems: KeysWithBody, InUse, GuardedTransactionOpen, WrongKind);

/// Create a lock, or replace its data
///
/// The lock must not be held. There is no need to create a lock before its first acquire.
#[utoipa::path(
    put,
    path = "/locks/{key}",
    tag = "locks",
    params(KeyParam::<false>, TenantParam),
    request_body(content = Option<PutLockBody>, example = json!({"data": "build 810"})),
    responses(
        (status = 200, description = "It was there; its data is replaced.", body = GrantBody<'_>),
        (status = 201, description = "Created, unlocked.", body = GrantBody<'_>),
        PutLockProblems
    )
)]
pub(crate) async fn put_lock(
    extract::State(app): extract::State<State>,
    KeyWithBody { id, body, .. }: KeyWithBody<PutLockBody>,
) -> Result<Response, Problem> {
    let (view, created) = app.service.put_lock(id, body.data, body.guarded).await?;
    Ok(json_created(&GrantBody::from(&view), created))
}
