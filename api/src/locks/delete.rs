//! `DELETE /locks/{key}`

use axum::{extract, http::StatusCode};
use db_locks_service::domain::Version;
use utoipa::IntoParams;

use crate::{
    http::State,
    problem::{Problem, problems},
    request::{KeyParam, KeyWithQuery, QueryParams, ReadQuery, TenantParam},
};

/// Which grant is deleted with the lock.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteLockQuery {
    /// The version of the grant, while the lock is held; ignored when it is free.
    #[param(
        required = false,
        nullable = false,
        value_type = Option<String>,
        format = "uuid",
        example = "0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42"
    )]
    version: Option<Version>,
}

impl ReadQuery for DeleteLockQuery {
    fn read(params: &mut QueryParams<'_>) -> Self {
        Self { version: params.version() }
    }
}

problems! {
    /// What `delete_lock` can answer instead of nothing.
    DeleteLockProblems: Keys, NotFound, VersionMismatch, InUse, WrongKind
}

/// Delete a lock
///
/// A held one only with the version of its grant, which ends. Those who wait keep waiting, and the key's fencing token
/// goes on.
#[utoipa::path(
    delete,
    path = "/locks/{key}",
    tag = "deletion",
    params(KeyParam::<false>, TenantParam, DeleteLockQuery),
    responses((status = 204, description = "Deleted."), DeleteLockProblems)
)]
pub(crate) async fn delete_lock(
    extract::State(app): extract::State<State>,
    KeyWithQuery { id, query }: KeyWithQuery<DeleteLockQuery>,
) -> Result<StatusCode, Problem> {
    app.service.delete_lock(id, query.version).await?;
    Ok(StatusCode::NO_CONTENT)
}
