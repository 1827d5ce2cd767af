//! The HTTP edge: connections, what surrounds every request, and what handlers share. It knows no route.

mod connection;
mod metrics;
mod middleware;
mod request_id;
mod server;
mod state;

pub use self::{
    connection::ClientBody,
    middleware::{AllowedHosts, InvalidHost},
    server::{ServeOptions, Tls, TlsError, serve},
    state::ApiConfig,
};
pub(crate) use self::{
    connection::Unconfirmed,
    metrics::HttpMetrics,
    middleware::surround,
    state::{App, Defaults, State},
};
