//! `DELETE /locks/{key}`

use axum::{extract, http::StatusCode};
use db_locks_service::domain::Version;

use crate::{
    http::State,
    problem::{Problem, problems},
    request::{KeyWithQuery, LockKeyParam, QueryParams, ReadQuery, TenantParam, VersionParam},
};

/// The grant that is deleted with the lock.
pub(crate) struct DeleteLockQuery {
    version: Option<Version>,
}

impl ReadQuery for DeleteLockQuery {
    fn read(params: &mut QueryParams<'_>) -> Self {
        Self { version: params.version() }
    }
}

problems!(DeleteLockProblems: Keys, NotFound, VersionMismatch, InUse, GuardedTransactionOpen, WrongKind);

/// Delete a lock
///
/// A lock that is held is deleted only if `version` is the version of its grant, which then ends. Waiting requests keep
/// waiting, and the fencing tokens of the key keep growing.
#[utoipa::path(
    delete,
    path = "/locks/{key}",
    tag = "deletion",
    params(LockKeyParam, TenantParam, VersionParam),
    responses((status = 204, description = "Deleted."), DeleteLockProblems)
)]
pub(crate) async fn delete_lock(
    extract::State(app): extract::State<State>,
    KeyWithQuery { id, query, .. }: KeyWithQuery<DeleteLockQuery>,
) -> Result<StatusCode, Problem> {
    app.service.delete_lock(id, query.version).await?;
    Ok(StatusCode::NO_CONTENT)
}
