//! The body of a request.

use std::sync::Arc;

use axum::{
    body::{Body, HttpBody as _},
    http::Request,
};

use super::Connection;

/// The body of a request, with its connection.
#[derive(Debug)]
pub struct ClientBody {
    body: Body,
    connection: Arc<Connection>,
}

impl ClientBody {
    /// The body of a request on this connection.
    pub(in crate::http) const fn new(body: Body, connection: Arc<Connection>) -> Self {
        Self { body, connection }
    }

    /// The connection.
    pub(in crate::http) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The connection, to be kept.
    pub(in crate::http) fn shared_connection(&self) -> Arc<Connection> {
        Arc::clone(&self.connection)
    }

    /// The request for its handler: the body without its connection, and the connection's own room in the extensions.
    pub(in crate::http) fn for_handler(request: Request<Self>) -> Request<Body> {
        let (mut parts, Self { body, connection }) = request.into_parts();
        if !body.is_end_stream() {
            parts.extensions.insert(connection.own_room().clone());
            if let Some(certificate) = connection.certificate() {
                parts.extensions.insert(Arc::clone(certificate));
            }
        }
        Request::from_parts(parts, body)
    }
}
