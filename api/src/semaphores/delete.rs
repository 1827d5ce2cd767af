//! `DELETE /semaphores/{key}`

use axum::{extract, http::StatusCode};

use crate::{
    http::State,
    problem::{Problem, problems},
    request::{KeyWithQuery, NoQuery, SemaphoreKeyParam, TenantParam},
};

problems!(DeleteSemaphoreProblems: Keys, NotFound, InUse, GuardedTransactionOpen, WrongKind);

/// Delete a semaphore
///
/// Works only while no permits are held.
#[utoipa::path(
    delete,
    path = "/semaphores/{key}",
    tag = "deletion",
    params(SemaphoreKeyParam, TenantParam),
    responses((status = 204, description = "Deleted."), DeleteSemaphoreProblems)
)]
pub(crate) async fn delete_semaphore(
    extract::State(app): extract::State<State>,
    KeyWithQuery { id, query: NoQuery, .. }: KeyWithQuery<NoQuery>,
) -> Result<StatusCode, Problem> {
    app.service.delete_semaphore(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
