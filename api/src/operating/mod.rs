//! What those who run the service ask of it: one file an operation.

mod health;
mod metrics;
mod openapi;
mod problem;
mod ready;
mod swagger_ui;

use axum::{Router, routing::get};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::router::State;

/// The routes that are in the `OpenAPI` document.
pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(health::get_health))
        .routes(routes!(ready::get_ready))
        .routes(routes!(metrics::get_metrics))
        .routes(routes!(openapi::get_openapi))
        .routes(routes!(problem::get_problem))
}

/// Swagger UI, which shows the document and is not in it.
pub(crate) fn swagger_ui_routes() -> Router<State> {
    let [redirect, index, file] = SWAGGER_UI_PATHS;
    Router::new()
        .route(redirect, get(swagger_ui::redirect))
        .route(index, get(swagger_ui::serve))
        .route(file, get(swagger_ui::serve))
}

/// The paths of Swagger UI.
pub(crate) const SWAGGER_UI_PATHS: [&str; 3] = ["/swagger-ui", "/swagger-ui/", "/swagger-ui/{*file}"];
