//! Errors as answers: RFC 9457 problem documents, on all routes.

mod body;
mod document;
mod kind;
mod refused;
mod routing;
mod unavailable;

use std::{borrow::Cow, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use db_locks_service::{
    ServiceError, Unavailable,
    access::{Role, TokenError},
    domain::{Holder, NotGranted, Revocation},
    store::StoreError,
};

use self::body::ProblemBody;
pub(crate) use self::{
    body::{FieldError, HolderBody},
    document::{CommonProblems, add_problem_schemas, problems, responses},
    kind::ProblemKind,
    refused::TOO_LARGE_TO_GUARD,
};
use crate::json::json_bytes;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A problem that is answered to the caller. Its texts must not reveal anything about the database or the code.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: ProblemKind,
    detail: Cow<'static, str>,
    extra: Extra,
    /// When to try again, if that does not follow from `extra`.
    retry_after_s: Option<i64>,
}

/// The members that only some kinds of problems have.
#[derive(Debug)]
enum Extra {
    None,
    Errors(Vec<FieldError>),
    Holders(Vec<Holder>),
    NotGranted(NotGranted),
    Revoked(Revocation),
    /// The value of `WWW-Authenticate`.
    Challenge(&'static str),
    /// The session of an open transaction, if it is known.
    Session(Option<Arc<str>>),
}

impl Problem {
    /// A problem without members of its own.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), extra: Extra::None, retry_after_s: None }
    }

    /// The errors of a request, field by field.
    pub(crate) fn invalid(errors: Vec<FieldError>) -> Self {
        let texts: Vec<_> = errors.iter().map(|error| format!("{} {}", error.field, error.reason)).collect();
        Self { extra: Extra::Errors(errors), ..Self::new(ProblemKind::InvalidRequest, texts.join("; ")) }
    }

    /// A single error of a request.
    pub(crate) fn invalid_field(field: &str, reason: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { field: field.to_owned(), reason: reason.into() }])
    }

    /// An error in the service. The caller learns nothing else.
    pub(crate) fn internal_error() -> Self {
        Self::new(
            ProblemKind::InternalError,
            "An unexpected error occurred. The service's log has the cause under this request id.",
        )
    }

    /// The credential is missing or not valid.
    pub(crate) fn unauthorized(was_sent: bool) -> Self {
        let (challenge, detail) = if was_sent {
            ("Bearer error=\"invalid_token\"", "The credential is unknown, expired, revoked or malformed.")
        } else {
            ("Bearer", "A credential is required: send `Authorization: Bearer` and a token.")
        };
        Self { extra: Extra::Challenge(challenge), ..Self::new(ProblemKind::Unauthorized, detail) }
    }

    /// The credential does not allow the request.
    pub(crate) fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemKind::Forbidden, detail)
    }

    /// The credential does not allow the use of this key.
    pub(crate) fn key_not_matched() -> Self {
        Self::forbidden("The key patterns of the credential do not match this key.")
    }

    /// The role of the credential does not allow the request.
    pub(crate) fn role_too_low(has: Role, needs: Role) -> Self {
        Self::forbidden(format!("The credential has the role {has}; this needs the role {needs}."))
    }

    /// The credential sends too many requests.
    pub(crate) fn too_many_requests(retry_after_s: u64) -> Self {
        Self {
            retry_after_s: Some(i64::try_from(retry_after_s).unwrap_or(i64::MAX)),
            ..Self::new(
                ProblemKind::TooManyRequests,
                "The credential sends more requests than it may in a second (DB_LOCKS_MAX_REQUESTS_PER_SECOND).",
            )
        }
    }

    /// Whether the status is 401.
    pub(crate) fn is_unauthorized(&self) -> bool {
        self.kind == ProblemKind::Unauthorized
    }

    fn retry_after(&self) -> Option<HeaderValue> {
        let seconds = match &self.extra {
            Extra::NotGranted(not_granted) => {
                let earliest = not_granted.holders.iter().map(|holder| holder.expires_in_ms).min();
                Some(whole_seconds(earliest.unwrap_or_default()))
            }
            _ => self.retry_after_s,
        };
        seconds.map(HeaderValue::from)
    }
}

/// Converts milliseconds to seconds, rounded up, at least 1. A client that waits this long does not come too early.
fn whole_seconds(ms: i64) -> i64 {
    ms.saturating_add(999).div_euclid(1_000).max(1)
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Refused { refusal, asked } => Self::refused(refusal, asked),
            ServiceError::NotGuarded(why) => {
                Self::invalid_field("guarded", format!("is not possible here: {why}"))
            }
            ServiceError::Unavailable(reason) => reason.into(),
        }
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Store(StoreError::Unknown(_)) => Unavailable::UnknownOutcome.into(),
            TokenError::Store(error) => Unavailable::from(&error).into(),
            TokenError::Unavailable(reason) => reason.into(),
            error => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a token could not be made or revoked"
                );
                Self::internal_error()
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let bytes = json_bytes(&ProblemBody::from(&self)).unwrap_or_default();
        let mut response = Response::new(Body::from(bytes));
        *response.status_mut() =
            StatusCode::from_u16(self.kind.properties().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
        if let Extra::Challenge(challenge) = self.extra {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests;
