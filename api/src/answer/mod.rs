//! What is answered: bodies as the contract shows them, and how they are written.

mod delivery;
mod grant;
mod page;
mod semaphore;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

pub(crate) use self::{
    delivery::granted,
    grant::GrantBody,
    page::{GrantList, SemaphoreList},
    semaphore::SemaphoreBody,
};
use crate::{json::json_bytes, problem::Problem};

/// The content type of every answer that is not a problem, a page or the metrics.
const APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Answers a value as JSON with 200.
pub(crate) fn json<T: Serialize>(value: &T) -> Response {
    match json_bytes(value) {
        Ok(bytes) => json_response(Body::from(bytes)),
        // Our own types always serialise; there is no text to show if one day they do not.
        Err(_) => Problem::internal_error().into_response(),
    }
}

/// Answers a value as JSON with 201 where it was created and with 200 where it was there.
pub(crate) fn json_created<T: Serialize>(value: &T, created: bool) -> Response {
    let mut response = json(value);
    if created && response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::CREATED;
    }
    response
}

/// Answers a body that is JSON with 200.
pub(crate) fn json_response(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, APPLICATION_JSON);
    response
}
