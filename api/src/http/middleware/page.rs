//! Headers for what a browser shows.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};

/// All that Swagger UI needs: its own files, styles that its script writes, and pictures that its styles hold.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Adds to a page what keeps other sites from framing it, and its scripts from calling others.
pub(super) fn protect(mut response: Response) -> Response {
    if is_page(response.headers()) {
        response.headers_mut().extend(HEADERS);
    }
    response
}

/// Whether a browser would show the answer as a page; everything else is data.
fn is_page(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|content_type| content_type.as_bytes().starts_with(b"text/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_protected_and_data_is_left_alone() {
        let of = |content_type| {
            let mut response = Response::default();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            protect(response).headers().contains_key(header::X_FRAME_OPTIONS)
        };
        assert!(of("text/html") && of("text/plain; charset=utf-8"));
        assert!(!of("application/json"));
    }
}
