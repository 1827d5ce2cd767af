//! `GET /api-docs/openapi.json`, and the same document as YAML under `/openapi.yaml`.

use axum::{
    body::Body,
    extract,
    http::{HeaderValue, header},
    response::Response,
};

use crate::{
    answer::json_response,
    http::{BodyMemory, State},
    problem::{Problem, problems},
    request::NoQuery,
};

const APPLICATION_YAML: HeaderValue = HeaderValue::from_static("application/yaml");

problems!(GetOpenapiProblems: Protectable);

/// Get this document
///
/// The document contains the limits that are configured.
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
    let mut response = json_response(Body::from(app.openapi_json.clone()));
    response.extensions_mut().insert(BodyMemory::Shared);
    Ok(response)
}

/// Answers the document as YAML. The route is an alias and not part of the document.
pub(super) async fn get_openapi_yaml(
    extract::State(app): extract::State<State>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let mut response = Response::new(Body::from(app.openapi_yaml.clone()));
    response.headers_mut().insert(header::CONTENT_TYPE, APPLICATION_YAML);
    response.extensions_mut().insert(BodyMemory::Shared);
    Ok(response)
}
