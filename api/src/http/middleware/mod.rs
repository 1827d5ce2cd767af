//! The middleware around every request: authentication, request id, metrics, log, panics, and the headers of every answer.
//!
//! It is around the router instead of in it, since a layer of the router wraps each route and costs each request two
//! allocations.

mod finish;
mod head;
mod host;
mod large;
mod observe;
mod response_future;
mod shared;
mod site;
mod waiter;

use std::convert::Infallible;

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, header},
    response::Response,
};
use tower::{Service, ServiceBuilder};
use tower_http::set_header::SetResponseHeaderLayer;

pub use self::host::{AllowedHosts, InvalidHost};
pub(crate) use self::large::BodyMemory;
use self::observe::Observe;
pub(crate) use self::shared::Shared;
use crate::http::connection::ClientBody;

/// Answers must not be cached: an old state of a lock says nothing about its current state.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Browsers must not guess another content type.
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// Wraps the routes.
pub(crate) fn add_middleware(
    routes: Router,
    shared: Shared,
) -> impl Service<Request<ClientBody>, Response = Response, Error = Infallible, Future: Send + Unpin + 'static>
+ Clone
+ Send
+ Sync
+ 'static {
    ServiceBuilder::new()
        .layer(SetResponseHeaderLayer::overriding(header::CACHE_CONTROL, NO_STORE))
        .layer(SetResponseHeaderLayer::overriding(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF))
        .service(Observe::new(routes, shared))
}
