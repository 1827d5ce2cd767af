//! The HTTP edge: connections, what surrounds every request, and what handlers share. It knows no route.

mod connection;
mod metrics;
mod middleware;
mod request_id;
mod server;
mod state;

pub(crate) use self::{
    connection::{Client, Connection},
    metrics::HttpMetrics,
    middleware::surround,
    state::{App, State},
};
pub use self::{
    middleware::{AllowedHosts, InvalidHost},
    server::{ServeOptions, serve},
    state::ApiConfig,
};
