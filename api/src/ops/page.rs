//! Answers that a browser shows as a page.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, header},
    response::Response,
};

use crate::http::BodyMemory;

/// All that Swagger UI needs: its own files, styles that its script writes, and pictures that its styles hold.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Headers that keep other sites from framing a page, and the scripts of a page from calling other sites.
const PROTECTION: [(HeaderName, HeaderValue); 3] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Answers a page, or a file that belongs to one, with 200.
pub(super) fn page(content_type: HeaderValue, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().extend(PROTECTION);
    response.extensions_mut().insert(BodyMemory::Shared);
    response
}
