//! The state that handlers share.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use db_locks_service::{
    Limits, LockService,
    access::Tokens,
    domain::{Owner, Tenant},
};

use super::{AllowedHosts, TrustedProxies, rendering::Rendering};
use crate::auth::Authentication;

/// The parts of the state other than the service.
#[derive(Clone)]
pub struct ApiConfig {
    /// Renders the metrics of the process as Prometheus text.
    pub render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The program's version, as the `OpenAPI` document shows it.
    pub version: &'static str,
    /// The host names that requests may use, in addition to those of the loopback interface.
    pub allowed_hosts: AllowedHosts,
    /// Authentication; `None`: every caller may do everything.
    pub authentication: Option<Arc<Authentication>>,
    /// The tokens of the database.
    pub tokens: Tokens,
    /// The trusted proxies.
    pub trusted_proxies: TrustedProxies,
}

impl fmt::Debug for ApiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiConfig").field("version", &self.version).finish_non_exhaustive()
    }
}

/// The state that handlers share. It is one pointer, because the router copies it for every request.
pub(crate) type State = Arc<App>;

/// The state that handlers share.
pub(crate) struct App {
    /// The lock service.
    pub(crate) service: LockService,
    /// The tokens of the database.
    pub(crate) tokens: Tokens,
    /// Authentication, if it is on.
    pub(crate) authentication: Option<Arc<Authentication>>,
    /// The limits of requests and their defaults.
    pub(crate) defaults: Defaults,
    /// The `OpenAPI` document as JSON.
    pub(crate) openapi_json: Bytes,
    /// The `OpenAPI` document as YAML.
    pub(crate) openapi_yaml: Bytes,
    /// The metrics.
    pub(crate) metrics: Rendering,
}

impl App {
    /// Builds the state from the configuration and the `OpenAPI` document.
    pub(crate) fn new(
        service: LockService,
        config: &ApiConfig,
        openapi_json: Bytes,
        openapi_yaml: Bytes,
    ) -> Self {
        Self {
            defaults: Defaults::new(*service.limits()),
            service,
            tokens: config.tokens.clone(),
            authentication: config.authentication.clone(),
            openapi_json,
            openapi_yaml,
            metrics: Rendering::new(config.render_metrics.clone()),
        }
    }
}

/// The limits of requests, and the defaults for what a request leaves out.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    /// The configured maxima.
    pub(crate) limits: Limits,
    /// The default owner.
    pub(crate) owner: Owner,
    /// The default tenant.
    pub(crate) tenant: Tenant,
}

impl Defaults {
    /// The defaults of a service with these limits.
    ///
    /// # Panics
    ///
    /// If a constant is invalid, which any test would have shown.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            owner: Owner::new("anonymous").expect("it is a valid owner"),
            tenant: Tenant::new("default").expect("it is a valid tenant"),
        }
    }
}
