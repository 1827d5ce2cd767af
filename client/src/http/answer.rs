//! Reads answers: the requested value, or the error that a problem document describes.

use std::time::Duration;

use reqwest::{Response, StatusCode, header::RETRY_AFTER};
use serde::de::DeserializeOwned;

use crate::error::{LockError, LockResult, NotGranted, Problem};

/// Reads the body of a successful answer.
pub(super) async fn read<T: DeserializeOwned>(response: Response) -> LockResult<T> {
    let response = check(response).await?;
    let body = response.bytes().await.map_err(|error| unreachable(&error))?;
    serde_json::from_slice(&body).map_err(|error| LockError::InvalidAnswer(error.to_string()))
}

/// Checks an answer that has no body on success.
pub(super) async fn check(response: Response) -> LockResult<Response> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = response.bytes().await.map_err(|error| unreachable(&error))?;
    let problem = serde_json::from_slice::<Problem>(&body).ok();
    Err(error_of(status, problem, Duration::from_secs(retry_after.unwrap_or(1))))
}

/// The error that a status and its problem document describe. A proxy may answer without a document.
fn error_of(status: StatusCode, problem: Option<Problem>, retry_after: Duration) -> LockError {
    let Some(problem) = problem else { return without_document(status, retry_after) };
    match (status.as_u16(), problem.kind.rsplit('/').next().unwrap_or_default()) {
        (423, _) => not_granted(problem),
        (409, "version-mismatch" | "lease-expired" | "revoked" | "superseded") => {
            LockError::Lost(problem.to_string())
        }
        (409, _) => LockError::Conflict(problem),
        (404, "not-found") => LockError::NotFound(problem.to_string()),
        (401 | 403, _) => LockError::AccessDenied(problem),
        (429 | 503, _) => LockError::Unavailable { detail: problem.to_string(), retry_after },
        (400..500, _) => LockError::Validation(with_fields(&problem)),
        _ => LockError::InvalidAnswer(format!("status {status}: {problem}")),
    }
}

fn without_document(status: StatusCode, retry_after: Duration) -> LockError {
    match status.as_u16() {
        429 | 502..=504 => {
            LockError::Unavailable { detail: format!("a proxy answered {status}"), retry_after }
        }
        _ => LockError::InvalidAnswer(format!("status {status} without a problem document")),
    }
}

fn not_granted(problem: Problem) -> LockError {
    let mut members = problem.members;
    members.insert("detail".to_owned(), problem.detail.into());
    match serde_json::from_value::<NotGranted>(members.into()) {
        Ok(refusal) => LockError::NotGranted(Box::new(refusal)),
        Err(error) => LockError::InvalidAnswer(error.to_string()),
    }
}

/// The text for [`LockError::Validation`], with the fields that the problem document names.
fn with_fields(problem: &Problem) -> String {
    let field = |error: &serde_json::Value| {
        Some(format!("{}: {}", error.get("field")?.as_str()?, error.get("reason")?.as_str()?))
    };
    let fields = problem.members.get("errors").and_then(|errors| errors.as_array());
    let named = fields.into_iter().flatten().filter_map(field).collect::<Vec<_>>();
    if named.is_empty() { problem.to_string() } else { named.join("; ") }
}

/// The error for a request without an answer: the host and port of its URL, and the last cause of the transport's error. The rest of
/// the URL may hold a password.
pub(super) fn unreachable(error: &reqwest::Error) -> LockError {
    let mut text = if error.is_timeout() { "no answer in time" } else { "no answer" }.to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    LockError::Unreachable(
        match error.url().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?))) {
            Some((host, port)) => format!("{host}:{port}: {text}"),
            None => text,
        },
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    fn problem(status: u16, kind: &str) -> LockError {
        let document = serde_json::json!({
            "type": format!("/problems/{kind}"), "title": "t", "status": status, "detail": "d",
            "reason": "no_wait", "holders": [], "waiters": 2, "errors": [{"field": "owner", "reason": "too long"}],
        });
        let status = StatusCode::from_u16(status).unwrap();
        error_of(status, serde_json::from_value(document).unwrap(), Duration::from_secs(1))
    }

    #[test]
    fn each_status_is_its_own_error() {
        assert!(
            matches!(problem(423, "not-granted"), LockError::NotGranted(refusal) if refusal.waiters == 2)
        );
        for lost in ["version-mismatch", "lease-expired", "revoked", "superseded"] {
            assert!(matches!(problem(409, lost), LockError::Lost(_)), "{lost}");
        }
        assert!(matches!(problem(409, "in-use"), LockError::Conflict(_)));
        assert!(matches!(problem(404, "not-found"), LockError::NotFound(_)));
        assert!(matches!(problem(401, "unauthorized"), LockError::AccessDenied(_)));
        for (status, kind) in [(503, "unavailable"), (429, "too-many-requests")] {
            assert!(matches!(problem(status, kind), LockError::Unavailable { .. }), "{status}");
        }
        assert_eq!(problem(400, "invalid-request").to_string(), "not valid: owner: too long");
    }

    /// A 404 page of another server must not count as "the lock does not exist".
    #[test]
    fn a_404_of_another_server_is_no_answer_of_the_service() {
        let error = error_of(StatusCode::NOT_FOUND, None, Duration::ZERO);
        assert!(matches!(error, LockError::InvalidAnswer(_)));
    }
}
