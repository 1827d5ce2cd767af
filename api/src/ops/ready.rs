//! `GET /ready`

use axum::{extract, response::Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    answer::json,
    http::State,
    problem::{Problem, problems},
    request::NoQuery,
};

/// The answer of a service that is ready.
#[derive(Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// Always `ready`; a service that is not ready answers 503.
    #[schema(example = "ready")]
    status: &'static str,
}

problems!(GetReadyProblems: Operating, Unavailable);

/// Check that the service is ready
///
/// The service is ready if the database answers and accepts writes, its schema is current, and the service is not
/// shutting down.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "operating",
    responses((status = 200, description = "The service is ready.", body = Readiness), GetReadyProblems)
)]
pub(crate) async fn get_ready(
    extract::State(app): extract::State<State>,
    _: NoQuery,
) -> Result<Response, Problem> {
    app.service.ready().await?;
    Ok(json(&Readiness { status: "ready" }))
}
