//! The HTTP interface of db-locks: routes, request and answer types, problem documents, the `OpenAPI` document.
//!
//! A handler reads a request into domain types, once, calls the service, and writes its answer. No rule of locking is
//! here, and nothing of a database. Dependencies point inwards: handlers over `request`, `answer` and `problem`,
//! and those over the service's types. This is the only crate that names `axum` and `utoipa`.

mod addresses;
mod answer;
mod auth;
mod grants;
mod http;
mod json;
mod locks;
mod openapi;
mod ops;
mod problem;
mod request;
mod router;
mod semaphores;
mod terraform;
mod tokens;

pub use auth::{Authentication, AuthenticationOptions, KeysError, Rules, RulesError};
pub use http::{
    AllowedHosts, ApiConfig, ClientBody, InvalidHost, InvalidProxy, ServeOptions, Tls, TlsError,
    TrustedProxies, serve,
};
pub use router::{openapi_yaml, router};
pub use tokens::{token_json, token_list_json};
