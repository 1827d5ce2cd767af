//! The routes, put together.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    http::{Method, Uri},
};
use bytes::Bytes;
use db_locks_service::{
    LockService,
    domain::{Owner, Tenant},
};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    answer::json_bytes,
    boundary::Boundary,
    locks,
    metrics::HttpMetrics,
    openapi::{self, complete, documented_answers, written, yaml},
    operating,
    problem::Problem,
    semaphores,
};

/// What the door needs to know beside the service.
#[derive(Clone)]
pub struct ApiConfig {
    /// Renders the metrics of the process as Prometheus text.
    pub render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The program's version, as the `OpenAPI` document shows it.
    pub version: &'static str,
}

impl fmt::Debug for ApiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiConfig").field("version", &self.version).finish_non_exhaustive()
    }
}

/// What handlers share. One pointer, because the router copies it for every request.
pub(crate) type State = Arc<App>;

/// What handlers share.
pub(crate) struct App {
    /// The lock service.
    pub(crate) service: LockService,
    /// Who holds what nobody put a name to.
    pub(crate) anonymous: Owner,
    /// Whose keys these are where nobody says.
    pub(crate) default_tenant: Tenant,
    /// The `OpenAPI` document as JSON.
    pub(crate) openapi_json: Bytes,
    /// The `OpenAPI` document as YAML.
    pub(crate) openapi_yaml: Bytes,
    /// Renders the metrics.
    pub(crate) render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// All routes of the service, with what every answer bears.
///
/// # Panics
///
/// If a constant of this crate is not what its type asks for, which its tests would have shown.
pub fn router(service: LockService, config: ApiConfig) -> Boundary<Router> {
    let (routes, mut document) = operations().split_for_parts();
    complete(&mut document, service.limits());
    config.version.clone_into(&mut document.info.version);
    let undocumented = operating::undocumented_routes();
    let paths =
        document.paths.paths.keys().map(String::as_str).chain(undocumented.iter().map(|(path, _)| *path));
    let metrics = HttpMetrics::new(paths);
    for (path, method, statuses) in documented_answers(&document) {
        metrics.register(path, method, statuses.iter().copied());
    }
    let tree = written(&document).expect("the document has no keys that are not text");
    let app = App {
        service,
        anonymous: Owner::new("anonymous").expect("it is a valid owner"),
        default_tenant: Tenant::new("default").expect("it is a valid tenant"),
        openapi_json: json_bytes(&tree).expect("the document has no keys that are not text"),
        openapi_yaml: yaml(&tree).into(),
        render_metrics: config.render_metrics,
    };
    let routes = undocumented
        .into_iter()
        .fold(routes, |routes, (path, methods)| routes.route(path, methods))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(route_not_found)
        .with_state(Arc::new(app));
    Boundary::new(routes, metrics)
}

/// The routes that are in the `OpenAPI` document, and what is known of the document from them.
pub(crate) fn operations() -> OpenApiRouter<State> {
    OpenApiRouter::with_openapi(openapi::base())
        .merge(locks::routes())
        .merge(semaphores::routes())
        .merge(operating::routes())
}

async fn route_not_found(uri: Uri) -> Problem {
    Problem::no_route(uri.path())
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::no_method(&method, uri.path())
}
