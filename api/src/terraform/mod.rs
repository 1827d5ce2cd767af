//! `/terraform/{key}`: locks for states, for the `http` backend of Terraform and `OpenTofu`.

mod answer;
mod lock;
mod unlock;

use axum::{
    extract::{Request, State as AppState},
    handler::Handler,
    http::{HeaderValue, Method, Uri, header},
    response::{IntoResponse, Response},
    routing::any,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{http::State, problem::Problem};

/// The path.
pub(crate) const PATH: &str = "/terraform/{key}";
/// The methods that Terraform and `OpenTofu` send by default. An `OpenAPI` document cannot name them.
pub(crate) const METHODS: [&str; 2] = ["LOCK", "UNLOCK"];
const ALLOW: HeaderValue = HeaderValue::from_static("DELETE,POST,LOCK,UNLOCK");

/// The routes.
pub(crate) fn routes() -> OpenApiRouter<State> {
    let (schemas, paths, documented) = routes!(lock::lock_state, unlock::unlock_state);
    OpenApiRouter::new().routes((schemas, paths, any(by_method).merge(documented)))
}

/// Handles the methods that the router does not know.
async fn by_method(AppState(app): AppState<State>, method: Method, uri: Uri, request: Request) -> Response {
    match method.as_str() {
        "LOCK" => lock::lock_state.call(request, app).await,
        "UNLOCK" => unlock::unlock_state.call(request, app).await,
        _ => {
            let mut response = Problem::no_method(&method, uri.path()).into_response();
            response.headers_mut().insert(header::ALLOW, ALLOW);
            response
        }
    }
}
