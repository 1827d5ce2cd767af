//! What surrounds every request: who may ask, its id, its metrics, its line in the log, what becomes of a panic, and the
//! headers that every answer bears.
//!
//! All of it is around the router instead of in it: a layer of the router's is put around every route, and costs every
//! request two allocations.

mod answering;
mod head;
mod host;
mod large;
mod observe;
mod shared;
mod site;

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
pub(crate) use self::large::Apart;
use self::observe::Observe;
pub(crate) use self::shared::Shared;
use crate::http::connection::ClientBody;

/// Answers are not to be kept: what a lock was is no news of what it is.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// An answer is what its content type says, whatever it looks like.
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// Surrounds routes.
pub(crate) fn surround(
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
