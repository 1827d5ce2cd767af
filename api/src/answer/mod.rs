//! What is answered: bodies as the contract shows them, and how they are written.

mod delivery;
mod grant;
mod page;
mod semaphore;
mod time;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Serialize;

pub(crate) use self::{
    delivery::granted,
    grant::GrantBody,
    page::{GrantList, SemaphoreList},
    semaphore::SemaphoreBody,
    time::Rfc3339,
};
use crate::problem::Problem;

/// The content type of every answer that is not a problem, a page or the metrics.
const APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Most answers fit without growing: a grant has some 450 bytes.
const USUAL_SIZE: usize = 640;

/// A value as JSON text. It ends with a newline, so that a shell's prompt begins on a line of its own.
pub(crate) fn json_bytes<T: Serialize>(value: &T) -> Result<Bytes, serde_json::Error> {
    let mut text = Vec::with_capacity(USUAL_SIZE);
    serde_json::to_writer(&mut text, value)?;
    text.push(b'\n');
    Ok(text.into())
}

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
