//! The HTTP edge: connections, middleware, and the state that handlers share. It knows no route.

mod audit;
mod connection;
mod head_memory;
mod metrics;
mod middleware;
mod own_room;
mod proxies;
mod rendering;
mod request_id;
mod server;
mod shared_room;
mod state;

pub use self::{
    connection::ClientBody,
    middleware::{AllowedHosts, InvalidHost},
    proxies::{InvalidProxy, TrustedProxies},
    server::{ServeOptions, Tls, TlsError, serve},
    state::ApiConfig,
};
pub(crate) use self::{
    connection::Unconfirmed,
    head_memory::{copy_of_uri, head_memory},
    metrics::HttpMetrics,
    middleware::{BodyMemory, Shared, add_middleware},
    own_room::OwnRoom,
    shared_room::SharedRoom,
    state::{App, Defaults, State},
};
