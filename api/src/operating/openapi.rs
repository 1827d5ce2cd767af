//! `GET /api-docs/openapi.json`

use axum::{body::Body, extract, response::Response};

use crate::{
    answer::json_response,
    problem::{Problem, problems},
    request::NoQuery,
    router::State,
};

problems! {
    /// What `get_openapi` can answer instead of the document.
    GetOpenapiProblems: Operating
}

/// This document
///
/// With the limits that are configured.
#[utoipa::path(
    get,
    path = "/api-docs/openapi.json",
    tag = "operating",
    responses((status = 200, description = "The OpenAPI document.", body = Object), GetOpenapiProblems)
)]
pub(crate) async fn get_openapi(
    extract::State(app): extract::State<State>,
    _: NoQuery,
) -> Result<Response, Problem> {
    Ok(json_response(Body::from(app.openapi_json.clone())))
}
