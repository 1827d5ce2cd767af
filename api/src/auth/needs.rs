//! What a route needs of whoever asks.

use axum::http::Method;
use db_locks_service::access::Role;

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing: it is open to everybody.
    Nothing,
    /// A credential, if the metrics are protected.
    Metrics,
    /// A credential, if the documents are protected.
    Documents,
    /// A credential with this role, or a higher one.
    Role(Role),
}

impl Needs {
    /// Whether clients of a route may be able to send nothing but basic authentication: Terraform, and browsers that open a page.
    pub(crate) fn takes_basic(self, route: &str) -> bool {
        self == Self::Documents || route == "/terraform/{key}"
    }

    /// Of a route, by its template. One that is not known here needs a credential.
    pub(crate) fn of(route: &str, method: &Method) -> Self {
        match route {
            "/health" | "/healthz" | "/livez" | "/ready" | "/readyz" => Self::Nothing,
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
