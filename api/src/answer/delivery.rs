//! The answer that carries a new grant.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use db_locks_service::Delivery;

use super::{GrantBody, json_response};
use crate::{http::Unconfirmed, json::json_bytes, problem::Problem};

/// Answers a grant with 200. The grant counts as delivered once its whole answer has been written to a connection that was
/// open; a connection that ends before drops the delivery, which gives the grant back.
pub(crate) fn granted(delivery: Delivery) -> Response {
    match json_bytes(&GrantBody::from(delivery.view())) {
        Ok(bytes) => {
            let mut response = json_response(Body::from(bytes));
            response.extensions_mut().insert(Unconfirmed::new(delivery));
            response
        }
        Err(_) => Problem::internal_error().into_response(),
    }
}
