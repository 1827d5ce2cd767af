//! The JSON of problem documents.

use db_locks_service::{
    Rfc3339,
    domain::{Holder, NotGrantedReason, Reason},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Extra, Problem};

/// One error of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// The wrong field, query parameter or header. `key` stands for the key in the path, `body` for all fields, `query` for all parameters.
    #[schema(example = "lease_duration_ms")]
    pub(crate) field: String,
    /// What is wrong with the field.
    #[schema(example = "must be between 1 and 86400000")]
    pub(crate) reason: String,
}

/// A holder of the lock or of a permit.
#[derive(Serialize, ToSchema)]
#[schema(as = Holder)]
pub(crate) struct HolderBody<'a> {
    /// The owner of the grant.
    #[schema(example = "ci-42")]
    owner: &'a str,
    /// The end of the lease, by the database's clock.
    #[schema(value_type = String, format = DateTime, example = "2026-11-23T05:07:23.381Z")]
    expires_at: Rfc3339,
    /// The remaining lease, in milliseconds.
    #[schema(minimum = 0, example = 12_345)]
    expires_in_ms: i64,
}

impl<'a> From<&'a Holder> for HolderBody<'a> {
    fn from(holder: &'a Holder) -> Self {
        Self {
            owner: holder.owner.as_str(),
            expires_at: holder.expires_at.into(),
            expires_in_ms: holder.expires_in_ms,
        }
    }
}

/// How a grant was ended by force. The problem always has all three members, null or not.
#[derive(Serialize)]
struct RevokedMembers<'a> {
    revoked_at: Rfc3339,
    revoked_by: Option<&'a str>,
    reason: Option<&'a str>,
}

/// All members that a problem can have, in the order in which they are written.
#[derive(Serialize)]
pub(super) struct ProblemBody<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'a [FieldError]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(flatten)]
    revoked: Option<RevokedMembers<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holders: Option<Vec<HolderBody<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiters: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_position: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
}

impl<'a> From<&'a Problem> for ProblemBody<'a> {
    fn from(problem: &'a Problem) -> Self {
        let properties = problem.kind.properties();
        let mut body = Self {
            r#type: properties.uri,
            title: properties.title,
            status: properties.status,
            detail: &problem.detail,
            errors: None,
            reason: None,
            revoked: None,
            holders: None,
            waiters: None,
            queue_position: None,
            session: None,
        };
        match &problem.extra {
            Extra::None | Extra::Challenge(_) => {}
            Extra::Errors(errors) => body.errors = Some(errors),
            Extra::Holders(holders) => body.holders = Some(holders.iter().map(Into::into).collect()),
            Extra::Revoked(revocation) => {
                body.revoked = Some(RevokedMembers {
                    revoked_at: revocation.at.into(),
                    revoked_by: revocation.by.as_deref(),
                    reason: revocation.reason.as_ref().map(Reason::as_str),
                });
            }
            Extra::NotGranted(not_granted) => {
                body.reason = Some(match not_granted.reason {
                    NotGrantedReason::NoWait => "no_wait",
                    NotGrantedReason::TimedOut => "timed_out",
                    NotGrantedReason::GuardedTransaction => "guarded_transaction",
                });
                body.holders = Some(not_granted.holders.iter().map(Into::into).collect());
                body.waiters = Some(not_granted.waiters);
                body.queue_position = not_granted.queue_position;
                body.session = not_granted.session.as_deref();
            }
            Extra::Session(session) => body.session = session.as_deref(),
        }
        body
    }
}
