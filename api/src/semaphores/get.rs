//! `GET /semaphores/{key}`

use axum::{extract, response::Response};

use crate::{
    answer::{SemaphoreBody, json},
    http::State,
    problem::{Problem, problems},
    request::{KeyWithQuery, NoQuery, SemaphoreKeyParam, TenantParam},
};

problems!(GetSemaphoreProblems: Keys, NotFound, WrongKind);

/// Get a semaphore
///
/// Answers the size of the semaphore and the number of permits that are held.
#[utoipa::path(
    get,
    path = "/semaphores/{key}",
    tag = "semaphores",
    params(SemaphoreKeyParam, TenantParam),
    responses((status = 200, description = "The semaphore.", body = SemaphoreBody<'_>), GetSemaphoreProblems)
)]
pub(crate) async fn get_semaphore(
    extract::State(app): extract::State<State>,
    KeyWithQuery { id, query: NoQuery, .. }: KeyWithQuery<NoQuery>,
) -> Result<Response, Problem> {
    let view = app.service.get_semaphore(id).await?;
    Ok(json(&SemaphoreBody::from(&view)))
}
