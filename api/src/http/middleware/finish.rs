//! Finishes an answer: counts and logs it, and adds the headers that every answer has.

use std::{net::IpAddr, sync::Arc, time::Instant};

use axum::{
    http::{HeaderValue, Method, StatusCode, header},
    response::Response,
};
use db_locks_service::LogLimit;
use tracing::{debug, error, warn};

use super::shared::Shared;
use crate::{
    auth::AccessRule,
    http::{metrics::RouteIndex, request_id::REQUEST_ID},
};

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Makes a browser ask for a password. It is a header of its own, since Chromium ignores what follows an unknown scheme.
const BASIC: HeaderValue = HeaderValue::from_static("Basic realm=\"db-locks\", charset=\"UTF-8\"");

static UNAVAILABLE: LogLimit = LogLimit::new();
static FAILED: LogLimit = LogLimit::new();

/// Who reads the body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyUse {
    /// The request has no body.
    None,
    /// No handler reads it.
    Unread,
    /// The handler reads it, unless the route lacks the method.
    ForTheRoute,
}

impl BodyUse {
    /// No handler is called.
    pub(super) fn unread(self) -> Self {
        if self == Self::None { Self::None } else { Self::Unread }
    }
}

/// What the end of a request needs to know of it.
pub(super) struct Answering {
    /// `None` once it is in the answer.
    pub(super) id: Option<HeaderValue>,
    pub(super) route: RouteIndex,
    pub(super) method: Method,
    pub(super) body: BodyUse,
    pub(super) shared: Arc<Shared>,
    /// The client's address without what it can choose itself.
    pub(super) network: IpAddr,
    pub(super) began: Instant,
}

impl Answering {
    /// The template of the route.
    pub(super) fn path(&self) -> &str {
        self.shared.metrics.path(self.route)
    }

    /// Who may use the route.
    pub(super) fn rule(&self) -> AccessRule {
        AccessRule::of(self.path(), &self.method)
    }

    /// Counts and logs an answer, and adds the headers that every answer has.
    pub(super) fn finish(&mut self, response: Response) -> Response {
        let mut response = self.shared.large_answers.admit(response, self.network);
        let id = self.id.take().unwrap_or(HeaderValue::from_static("-"));
        let took = self.began.elapsed();
        self.shared.metrics.answered(self.route, &self.method, response.status(), took);
        self.log(&response, &id, took.as_millis());
        if self.is_left_unread(response.status()) {
            // hyper will close the connection, and a client that reuses connections must know.
            response.headers_mut().insert(header::CONNECTION, CLOSE);
        }
        if response.status() == StatusCode::UNAUTHORIZED && self.is_page() {
            response.headers_mut().append(header::WWW_AUTHENTICATE, BASIC);
        }
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }

    /// Whether people open this route in a browser.
    fn is_page(&self) -> bool {
        self.rule() == AccessRule::Documents
    }

    /// Whether a part of the request's body may not have been read.
    fn is_left_unread(&self, status: StatusCode) -> bool {
        match self.body {
            BodyUse::None => false,
            BodyUse::Unread => true,
            BodyUse::ForTheRoute => matches!(
                status,
                StatusCode::FORBIDDEN
                    | StatusCode::METHOD_NOT_ALLOWED
                    | StatusCode::REQUEST_TIMEOUT
                    | StatusCode::PAYLOAD_TOO_LARGE
            ),
        }
    }

    fn log(&self, response: &Response, id: &HeaderValue, duration_ms: u128) {
        let (request_id, method) = (id.to_str().unwrap_or_default(), &self.method);
        let (route, status) = (self.path(), response.status().as_u16());
        // During an outage all requests have the same cause.
        if status == 503
            && let Some(left_out) = UNAVAILABLE.pass()
        {
            warn!(request_id, %method, route, status, duration_ms, left_out, "a request could not be served now");
        } else if status >= 500
            && status != 503
            && let Some(left_out) = FAILED.pass()
        {
            error!(request_id, %method, route, status, duration_ms, left_out, "a request failed");
        } else {
            debug!(request_id, %method, route, status, duration_ms, "answered");
        }
    }
}
