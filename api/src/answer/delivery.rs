//! The answer that carries a new grant.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use db_locks_service::Delivery;

use super::{GrantBody, json_response};
use crate::{http::Unconfirmed, json::json_bytes, problem::Problem};

/// Answers a grant with 200. The grant counts as delivered once the whole answer has been written to an open connection. If the
/// connection ends before that, the delivery is dropped, which releases the grant.
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
