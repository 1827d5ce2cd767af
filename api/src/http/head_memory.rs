//! The memory of the head of a request.

use axum::http::HeaderMap;

/// The memory that a header takes in addition to its name and value. With HTTP/2 a header of some hundred bytes may take one byte on the wire.
const HEADER_BYTES: usize = 128;

/// The memory that the headers of a request take, in bytes.
pub(crate) fn head_memory(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER_BYTES).sum()
}
