//! `PUT /locks/{key}`

use axum::{extract, response::Response};
use db_locks_service::domain::Data;
use utoipa::ToSchema;

use crate::{
    answer::{GrantBody, json_created},
    http::State,
    problem::{Problem, problems},
    request::{Defaults, Fields, KeyWithBody, LockKeyParam, ReadBody, TenantParam},
};

/// The data of a lock that nobody holds, and whether the lock is guarded.
#[derive(ToSchema)]
pub(crate) struct PutLockBody {
    /// The new data. Without this field the lock has no data.
    #[schema(value_type = Option<String>)]
    data: Option<Data>,
    /// Whether the lock is guarded from now on. By default an existing lock stays as it is, and a new one is not
    /// guarded.
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
/// The lock must not be held. A lock does not have to be created before its first acquire.
#[utoipa::path(
    put,
    path = "/locks/{key}",
    tag = "locks",
    params(LockKeyParam, TenantParam),
    request_body(content = Option<PutLockBody>, example = json!({"data": "build 810"})),
    responses(
        (status = 200, description = "The lock existed; its data was replaced.", body = GrantBody<'_>),
        (status = 201, description = "Created; nobody holds the lock.", body = GrantBody<'_>),
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
