//! Answers of the service, with checks of their common properties.

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::time::epoch_ms;

/// A lease begins at the upper bound of the database's time, and is read with the lower bound. So it may seem longer
/// than requested by this much.
pub(crate) const CLOCK_SLACK_MS: i64 = 2_000;

/// A complete answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body as text.
    pub(crate) text: String,
    /// The body as JSON; null if it is not JSON.
    pub(crate) body: Value,
}

/// A grant, checked for its form.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    /// The version of the grant.
    pub(crate) version: String,
    /// The fencing token.
    pub(crate) token: i64,
    /// The whole body.
    pub(crate) body: Value,
}

impl Answer {
    /// Reads a response, and checks the headers that every response has.
    pub(crate) async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or_default();
        let answer = Self { status, headers, text, body };
        assert!(!answer.header("x-request-id").is_empty(), "every response bears X-Request-Id: {answer:?}");
        answer
    }

    /// A header as text; empty if it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Fails unless the status is this one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Fails unless the status is a success.
    #[track_caller]
    pub(crate) fn expect_success(&self) {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
    }

    /// Returns the grant; fails if the answer is none.
    #[track_caller]
    pub(crate) fn grant(&self) -> Grant {
        assert_eq!(self.status, 200, "{}", self.text);
        let body = self.body.clone();
        assert_eq!(body["locked"], true, "{body}");
        let lease_ms = body["lease_duration_ms"].as_i64().unwrap();
        let left_ms = body["expires_in_ms"].as_i64().unwrap();
        assert!(left_ms >= 1, "a grant is never answered after its end: {body}");
        assert!(left_ms <= lease_ms + CLOCK_SLACK_MS, "a lease is not longer than it was asked for: {body}");
        assert!(epoch_ms(&body["acquired_at"]) <= epoch_ms(&body["expires_at"]), "{body}");
        let token = body["fencing_token"].as_i64().unwrap();
        assert!((1..1 << 53).contains(&token), "{body}");
        Grant { version: body["version"].as_str().unwrap().to_owned(), token, body }
    }

    /// Returns the body of a lock that nobody holds, with this status; fails otherwise.
    #[track_caller]
    pub(crate) fn unheld(&self, status: u16) -> &Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.body["locked"], false, "{}", self.text);
        for member in ["version", "owner", "acquired_at", "expires_at", "expires_in_ms"] {
            assert_eq!(
                self.body.get(member),
                Some(&Value::Null),
                "{member} of an unheld lock: {}",
                self.text
            );
        }
        &self.body
    }

    /// Returns the problem document with this status and type; fails otherwise.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, name: &str) -> &Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        assert_eq!(self.body["type"], format!("/problems/{name}"), "{}", self.text);
        assert_eq!(self.body["status"], status, "{}", self.text);
        for member in ["title", "detail"] {
            assert!(self.body[member].as_str().is_some_and(|text| !text.is_empty()), "{}", self.text);
        }
        &self.body
    }

    /// Returns the 400 that names the field; fails otherwise.
    #[track_caller]
    pub(crate) fn names_invalid(&self, field: &str) {
        let errors = self.problem(400, "invalid-request")["errors"].as_array().unwrap();
        let named = errors.iter().find(|error| error["field"] == field);
        let reason = named.and_then(|error| error["reason"].as_str()).unwrap_or_default();
        assert!(!reason.is_empty(), "{field} should be named, with a reason: {}", self.text);
    }

    /// Returns the 423 with this reason; fails otherwise.
    #[track_caller]
    pub(crate) fn not_granted(&self, reason: &str) -> &Value {
        let problem = self.problem(423, "not-granted");
        assert_eq!(problem["reason"], reason, "{problem}");
        assert!(problem["waiters"].as_i64().is_some_and(|waiters| waiters >= 0), "{problem}");
        assert!(self.retry_after() >= 1, "{problem}");
        for holder in problem["holders"].as_array().unwrap() {
            assert!(holder["owner"].is_string() && holder["expires_in_ms"].is_i64(), "{problem}");
            epoch_ms(&holder["expires_at"]);
        }
        problem
    }

    /// Returns the 503; fails otherwise.
    #[track_caller]
    pub(crate) fn unavailable(&self) {
        self.problem(503, "unavailable");
        assert!(self.retry_after() >= 1, "{}", self.text);
    }

    /// Returns the 503 whose `detail` names this dependency or limit; fails otherwise.
    #[track_caller]
    pub(crate) fn unavailable_because(&self, cause: &str) {
        self.unavailable();
        let detail = self.body["detail"].as_str().unwrap();
        assert!(detail.contains(cause), "{cause} in {detail}");
    }

    /// The seconds of Retry-After; 0 if it is missing.
    #[track_caller]
    pub(crate) fn retry_after(&self) -> i64 {
        let value = self.header("retry-after");
        if value.is_empty() { 0 } else { value.parse().unwrap() }
    }
}
