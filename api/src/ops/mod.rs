//! Operations for those who run the service: one file for each.

mod health;
mod metrics;
mod openapi;
mod page;
mod problem;
mod ready;
mod swagger_ui;

use axum::routing::{MethodRouter, get};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::http::State;

/// The routes that are in the `OpenAPI` document.
pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(health::get_health))
        .routes(routes!(ready::get_ready))
        .routes(routes!(metrics::get_metrics))
        .routes(routes!(openapi::get_openapi))
        .routes(routes!(problem::get_problem))
}

/// The routes that are not in the `OpenAPI` document, with their paths: Swagger UI, which shows it, and other names of
/// operations that are in it.
pub(crate) fn undocumented_routes() -> [(&'static str, MethodRouter<State>); 9] {
    [
        ("/", get(swagger_ui::redirect_from_root)),
        ("/swagger-ui", get(swagger_ui::redirect)),
        ("/swagger-ui/", get(swagger_ui::serve)),
        ("/swagger-ui/{*file}", get(swagger_ui::serve)),
        ("/healthz", get(health::get_health)),
        ("/livez", get(health::get_health)),
        ("/readyz", get(ready::get_ready)),
        ("/openapi.json", get(openapi::get_openapi)),
        ("/openapi.yaml", get(openapi::get_openapi_yaml)),
    ]
}
