//! The headers of a request that the middleware needs.

use axum::http::{HeaderMap, HeaderValue, header};

use super::site::SEC_FETCH_SITE;
use crate::http::request_id::REQUEST_ID;

/// The headers of a request that the middleware needs. They are found in one pass, since each look-up would hash a name.
#[derive(Debug, Default)]
pub(super) struct Head<'a> {
    /// The request id that the caller sent.
    pub(super) request_id: Option<&'a HeaderValue>,
    /// The `Host`, if there is exactly one and no other header that names a site.
    pub(super) only_host: Option<&'a HeaderValue>,
    /// Whether the request has a body, or may have one.
    pub(super) has_body: bool,
}

impl<'a> Head<'a> {
    /// Reads the headers of a request.
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut head = Self::default();
        let mut hosts = 0;
        let mut names_site = false;
        for (name, value) in headers {
            if name == header::HOST {
                hosts += 1;
                head.only_host = Some(value);
            } else if name == header::CONTENT_LENGTH {
                head.has_body |= value != "0";
            } else if name == header::TRANSFER_ENCODING {
                head.has_body = true;
            } else if name == REQUEST_ID {
                head.request_id.get_or_insert(value);
            } else if name == header::ORIGIN || name == SEC_FETCH_SITE {
                names_site = true;
            }
        }
        head.only_host = head.only_host.filter(|_| hosts == 1 && !names_site);
        head
    }
}
