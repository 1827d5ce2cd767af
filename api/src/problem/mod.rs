//! Answers other than successes: RFC 9457 problem documents, everywhere.

mod body;
mod document;
mod kind;

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use db_locks_service::{
    ServiceError,
    domain::{Holder, NotGranted, NotGrantedReason, Refusal},
};

use self::body::ProblemBody;
pub(crate) use self::{
    body::{FieldError, HolderBody},
    document::{Common, add_problem_schemas, problems, responses},
    kind::ProblemKind,
};
use crate::answer::json_bytes;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// When to come back to a service that cannot do it now, in seconds: long enough for a shed load to matter, short enough
/// for a database that fails over.
const RETRY_UNAVAILABLE: HeaderValue = HeaderValue::from_static("1");

/// A problem on its way to the caller. Its texts are shown: nothing of the database or of the code's inside belongs there.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: ProblemKind,
    detail: Cow<'static, str>,
    extra: Extra,
}

/// What some kinds of problems say beyond `detail`.
#[derive(Debug)]
enum Extra {
    None,
    Errors(Vec<FieldError>),
    Holders(Vec<Holder>),
    NotGranted(NotGranted),
}

impl Problem {
    /// A problem without members of its own.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), extra: Extra::None }
    }

    /// What is wrong with a request, field by field.
    pub(crate) fn invalid(errors: Vec<FieldError>) -> Self {
        let told: Vec<_> = errors.iter().map(|error| format!("{} {}", error.field, error.reason)).collect();
        let detail = Cow::Owned(told.join("; "));
        Self { kind: ProblemKind::InvalidRequest, detail, extra: Extra::Errors(errors) }
    }

    /// One thing is wrong with a request.
    pub(crate) fn invalid_field(field: &str, reason: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { field: field.to_owned(), reason: reason.into() }])
    }

    /// Something went wrong that should not have; the caller is told no more than that.
    pub(crate) fn internal_error() -> Self {
        Self::new(ProblemKind::InternalError, "The service failed; its log tells more under this request id.")
    }

    /// The service cannot do it now.
    pub(crate) fn unavailable(reason: &'static str) -> Self {
        Self::new(ProblemKind::Unavailable, reason)
    }

    fn retry_after(&self) -> Option<HeaderValue> {
        match (&self.extra, self.kind) {
            (Extra::NotGranted(not_granted), _) => {
                let earliest = not_granted.holders.iter().map(|holder| holder.expires_in_ms).min();
                Some(HeaderValue::from(whole_seconds(earliest.unwrap_or_default())))
            }
            (_, ProblemKind::Unavailable) => Some(RETRY_UNAVAILABLE),
            _ => None,
        }
    }
}

/// Milliseconds in seconds rounded up, at least 1: a client that waits so long does not come too early.
fn whole_seconds(ms: i64) -> i64 {
    ms.saturating_add(999).div_euclid(1_000).max(1)
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Refused(refusal) => refusal.into(),
            ServiceError::Unavailable(reason) => Self::unavailable(reason),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        use ProblemKind as Kind;
        match refusal {
            Refusal::NotFound => Self::new(Kind::NotFound, "There is no lock or semaphore of this key."),
            Refusal::VersionMismatch => {
                Self::new(Kind::VersionMismatch, "The version is not the one of the current grant.")
            }
            Refusal::LeaseExpired => Self::new(Kind::LeaseExpired, "The lease of this version has ended."),
            Refusal::InUse(holders) => Self {
                kind: Kind::InUse,
                detail: Cow::Borrowed("It is held; see `holders`."),
                extra: Extra::Holders(holders),
            },
            Refusal::WrongKind => Self::new(
                Kind::WrongKind,
                "The key is a semaphore used as a lock, or a lock used as a semaphore.",
            ),
            Refusal::Superseded => Self::new(
                Kind::Superseded,
                "A repeat with the same version took over the place in the queue.",
            ),
            Refusal::NotGranted(not_granted) => Self {
                kind: Kind::NotGranted,
                detail: Cow::Borrowed(match not_granted.reason {
                    NotGrantedReason::NoWait => "It is held by others, and the request did not want to wait.",
                    NotGrantedReason::TimedOut => "It was held by others for the whole wait.",
                }),
                extra: Extra::NotGranted(not_granted),
            },
            Refusal::NotForSemaphores(field) => {
                Self::invalid_field(field, "means nothing for a semaphore's key")
            }
            Refusal::QueueFull => Self::unavailable("as many requests wait for this key as may"),
            Refusal::PassedOver => Self::unavailable("the place in the queue was lost; ask again"),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let bytes = json_bytes(&ProblemBody::from(&self)).unwrap_or_default();
        let mut response = Response::new(Body::from(bytes));
        *response.status_mut() =
            StatusCode::from_u16(self.kind.facts().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use db_locks_service::domain::{Owner, Timestamp};
    use serde_json::{Value, json};

    use super::*;

    async fn answered(problem: Problem) -> (Response<()>, Value) {
        let (parts, body) = problem.into_response().into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (Response::from_parts(parts, ()), serde_json::from_slice(&bytes).unwrap())
    }

    fn holder(expires_in_ms: i64) -> Holder {
        Holder { owner: Owner::new("ci-42").unwrap(), expires_at: Timestamp(0), expires_in_ms }
    }

    #[tokio::test]
    async fn not_granted_tells_who_holds_it_and_when_to_come_back() {
        let refusal = Refusal::NotGranted(NotGranted {
            reason: NotGrantedReason::TimedOut,
            holders: vec![holder(2_001), holder(60_000)],
            waiters: 3,
            queue_position: Some(2),
        });
        let (response, body) = answered(refusal.into()).await;
        assert_eq!(response.status(), 423);
        assert_eq!(response.headers()["retry-after"], "3");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(body["type"], "/problems/not-granted");
        assert_eq!(body["reason"], "timed_out");
        assert_eq!(body["waiters"], 3);
        assert_eq!(body["queue_position"], 2);
        assert_eq!(
            body["holders"][0],
            json!({"owner": "ci-42", "expires_at": "1970-01-01T00:00:00.000Z", "expires_in_ms": 2_001})
        );
    }

    #[tokio::test]
    async fn a_place_that_never_was_is_not_mentioned() {
        let not_granted = NotGranted {
            reason: NotGrantedReason::NoWait,
            holders: vec![],
            waiters: 0,
            queue_position: None,
        };
        let (response, body) = answered(Refusal::NotGranted(not_granted).into()).await;
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(body["reason"], "no_wait");
        assert!(body.get("queue_position").is_none());
    }

    #[tokio::test]
    async fn an_invalid_request_names_fields_and_reasons() {
        let (response, body) = answered(Problem::invalid_field("wait_ms", "must be at least 0")).await;
        assert_eq!(response.status(), 400);
        assert_eq!(body["detail"], "wait_ms must be at least 0");
        assert_eq!(body["errors"], json!([{"field": "wait_ms", "reason": "must be at least 0"}]));
    }

    #[tokio::test]
    async fn unavailable_says_when_to_come_back() {
        let (response, body) = answered(Problem::unavailable("the service is shutting down")).await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(body["detail"], "the service is shutting down");
    }

    #[test]
    fn seconds_are_rounded_up_and_at_least_one() {
        assert_eq!([-5, 0, 1, 1_000, 1_001, 59_999].map(whole_seconds), [1, 1, 1, 1, 2, 60]);
    }
}
