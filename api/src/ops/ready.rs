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

/// That the service can do its work.
#[derive(Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// Always `ready`: otherwise the answer is 503.
    #[schema(example = "ready")]
    status: &'static str,
}

problems!(GetReadyProblems: Operating, Unavailable);

/// Whether the service can do its work
///
/// The database answers, its schema is current, and nobody asked the service to stop.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "operating",
    responses((status = 200, description = "It can.", body = Readiness), GetReadyProblems)
)]
pub(crate) async fn get_ready(
    extract::State(app): extract::State<State>,
    _: NoQuery,
) -> Result<Response, Problem> {
    app.service.ready().await?;
    Ok(json(&Readiness { status: "ready" }))
}
