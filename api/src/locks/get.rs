//! `GET /locks/{key}`

use axum::{extract, response::Response};

use crate::{
    answer::{GrantBody, json},
    http::State,
    problem::{Problem, problems},
    request::{KeyWithQuery, LockKeyParam, NoQuery, TenantParam},
};

problems!(GetLockProblems: Keys, NotFound, WrongKind);

/// Get a lock
///
/// Answers every lock that exists, whether it is held, free or expired.
#[utoipa::path(
    get,
    path = "/locks/{key}",
    tag = "locks",
    params(LockKeyParam, TenantParam),
    responses((status = 200, description = "The lock.", body = GrantBody<'_>), GetLockProblems)
)]
pub(crate) async fn get_lock(
    extract::State(app): extract::State<State>,
    KeyWithQuery { id, query: NoQuery, caller }: KeyWithQuery<NoQuery>,
) -> Result<Response, Problem> {
    let view = app.service.get_lock(id).await?;
    Ok(json(&GrantBody::seen_by(&caller, &view)))
}
