//! The memory of the head of a request.
//!
//! Its URI and headers are parts of the buffer that it was read into, and each of them keeps all of it, which may be a hundred times as
//! much. So what outlives the reading of a request is copied.

use axum::http::{HeaderMap, HeaderValue, Uri};

/// The memory that a header takes in addition to its name and value. With HTTP/2 a header of some hundred bytes may take one byte on the wire.
const HEADER_BYTES: usize = 128;

/// The memory that the URI and the headers of a request take, in bytes.
pub(crate) fn head_memory(uri: &Uri, headers: &HeaderMap) -> usize {
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    let headers = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER_BYTES);
    authority + target + headers.sum::<usize>()
}

/// A copy with memory of its own.
pub(crate) fn copy_of(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
}

/// A copy with memory of its own.
pub(crate) fn copy_of_uri(uri: &Uri) -> Uri {
    Uri::try_from(uri.to_string()).unwrap_or_else(|_| uri.clone())
}
