//! The access rule of each route.

use axum::http::Method;
use db_locks_service::access::Role;

/// The access rule of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccessRule {
    /// The route is open to everybody.
    Open,
    /// The route needs a credential if the metrics are protected.
    Metrics,
    /// The route needs a credential if the documents are protected.
    Documents,
    /// The route needs a credential with this role or a higher one.
    Role(Role),
}

impl AccessRule {
    /// Whether a route, or a path of it, accepts basic authentication. Terraform, and browsers that open a page, cannot send a bearer token.
    pub(crate) fn takes_basic(self, path: &str) -> bool {
        self == Self::Documents || path.starts_with("/terraform/")
    }

    /// The rule of a route, by its template. Routes that are not named here need a credential.
    pub(crate) fn of(route: &str, method: &Method) -> Self {
        match route {
            "/health" | "/healthz" | "/livez" | "/ready" | "/readyz" => Self::Open,
            "/metrics" => Self::Metrics,
            "/"
            | "/swagger-ui"
            | "/swagger-ui/"
            | "/swagger-ui/{*file}"
            | "/problems/{name}"
            | "/api-docs/openapi.json"
            | "/openapi.json"
            | "/openapi.yaml" => Self::Documents,
            "/tokens" | "/tokens/{id}" => Self::Role(Role::Admin),
            _ if method.is_safe() => Self::Role(Role::Read),
            _ => Self::Role(Role::Write),
        }
    }
}
