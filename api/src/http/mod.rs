//! The HTTP edge: connections, middleware, and the state that handlers share. It knows no route.

mod audit;
mod connection;
mod metrics;
mod middleware;
mod proxies;
mod rendering;
mod request_id;
mod server;
mod state;

pub use self::{
    connection::ClientBody,
    middleware::{AllowedHosts, InvalidHost},
    proxies::{InvalidProxy, TrustedProxies},
    server::{ServeOptions, Tls, TlsError, serve},
    state::ApiConfig,
};
pub(crate) use self::{
    connection::{OwnRoom, Unconfirmed},
    metrics::HttpMetrics,
    middleware::{BodyMemory, Shared, add_middleware},
    state::{App, Defaults, State},
};
