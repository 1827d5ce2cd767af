//! Answers: their bodies, and how they are written.

mod delivery;
mod grant;
mod page;
mod semaphore;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use db_locks_service::domain::Tenant;
use serde::Serialize;

pub(crate) use self::{
    delivery::granted,
    grant::GrantBody,
    page::{GrantList, SemaphoreList},
    semaphore::SemaphoreBody,
};
use crate::{http::BodyMemory, json::json_bytes, problem::Problem};

/// The content type of every answer that is not a problem, a page or the metrics.
const APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Answers a value as JSON with 200.
pub(crate) fn json<T: Serialize>(value: &T) -> Response {
    match json_bytes(value) {
        Ok(bytes) => json_response(Body::from(bytes)),
        // Serializing our own types cannot fail.
        Err(_) => Problem::internal_error().into_response(),
    }
}

/// Answers a page of a tenant's list. It takes room of this tenant until it was sent.
pub(crate) fn json_page<T: Serialize>(tenant: Tenant, page: &T) -> Response {
    let mut response = json(page);
    response.extensions_mut().insert(BodyMemory::Page(tenant));
    response
}

/// Answers a value as JSON, with 201 if it was created and with 200 if it existed.
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
