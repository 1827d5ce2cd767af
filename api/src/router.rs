//! The router with all routes.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::Request,
    http::{Method, Uri},
    response::Response,
};
use db_locks_service::{Limits, LockService};
use tower::Service;
use utoipa::openapi::{OpenApi, PathItem};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    http::{ApiConfig, App, ClientBody, HttpMetrics, Shared, State, add_middleware},
    json::json_bytes,
    locks,
    openapi::{self, complete, documented_answers, ordered_document, yaml},
    ops,
    problem::Problem,
    semaphores, terraform, tokens,
};

/// All routes of the service, with the middleware.
///
/// # Panics
///
/// If a constant of this crate is invalid, which its tests would have shown.
pub fn router(
    service: LockService,
    config: &ApiConfig,
) -> impl Service<Request<ClientBody>, Response = Response, Error = Infallible, Future: Send + Unpin + 'static>
+ Clone
+ Send
+ Sync
+ use<>
+ 'static {
    let (routes, mut document) = operations().split_for_parts();
    complete(&mut document, service.limits());
    config.version.clone_into(&mut document.info.version);
    let undocumented = ops::undocumented_routes();
    let others = undocumented.iter().map(|(path, _)| (*path, vec![Method::GET]));
    let metrics = HttpMetrics::new(documented_methods(&document).chain(others));
    for (path, method, statuses) in documented_answers(&document) {
        metrics.register(path, method, statuses.iter().copied());
    }
    let tree = ordered_document(&document).expect("the document has no keys that are not text");
    let openapi_json = json_bytes(&tree).expect("the document has no keys that are not text");
    let shared = Shared::new(metrics, config, &service);
    let app = App::new(service, config, openapi_json, yaml(&tree).into());
    let routes = undocumented
        .into_iter()
        .fold(routes, |routes, (path, methods)| routes.route(path, methods))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(route_not_found)
        .with_state(Arc::new(app));
    add_middleware(routes, shared)
}

/// The whole document as YAML, with the configured limits.
///
/// # Panics
///
/// If the document cannot be written as YAML, which its test would have shown.
pub fn openapi_yaml(limits: &Limits) -> String {
    let mut document = operations().into_openapi();
    complete(&mut document, limits);
    let tree = ordered_document(&document).expect("the document has no keys that are not text");
    yaml(&tree)
}

/// The routes of the document with their methods.
fn documented_methods(document: &OpenApi) -> impl Iterator<Item = (&str, Vec<Method>)> {
    document.paths.paths.iter().map(|(path, item)| {
        let mut methods = methods_of(item);
        if path == terraform::PATH {
            methods.extend(terraform::METHODS.iter().filter_map(|method| method.parse().ok()));
        }
        (path.as_str(), methods)
    })
}

fn methods_of(item: &PathItem) -> Vec<Method> {
    [
        (&item.get, Method::GET),
        (&item.put, Method::PUT),
        (&item.post, Method::POST),
        (&item.delete, Method::DELETE),
    ]
    .into_iter()
    .filter_map(|(operation, method)| operation.as_ref().map(|_| method))
    .collect()
}

/// The routes in the `OpenAPI` document, and the document that they describe.
fn operations() -> OpenApiRouter<State> {
    OpenApiRouter::with_openapi(openapi::base())
        .merge(locks::routes())
        .merge(semaphores::routes())
        .merge(terraform::routes())
        .merge(tokens::routes())
        .merge(ops::routes())
}

async fn route_not_found(uri: Uri) -> Problem {
    Problem::no_route(uri.path())
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::no_method(&method, uri.path())
}
