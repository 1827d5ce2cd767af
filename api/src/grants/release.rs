//! `POST /locks/{key}/release` and `POST /semaphores/{key}/release`

use axum::{extract, response::Response};
use db_locks_service::{
    access::Role,
    domain::{DataEdit, ForcedRelease, KeyId, Kind, Release},
};
use utoipa::ToSchema;

use crate::{
    answer::{GrantBody, json},
    auth::Caller,
    http::{App, State},
    problem::{Problem, problems},
    request::{Defaults, Fields, KeyWithBody, LockKeyParam, ReadBody, SemaphoreKeyParam, TenantParam},
};

/// The grant to end.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is the schema of what `ReleaseLock` reads")]
struct ReleaseLockBody {
    /// The version of the grant. Required without `force`. With `force` and no version, the active grant of the lock is
    /// ended, whoever holds it.
    version: Option<String>,
    /// New data. By default the data stays as it is.
    data: Option<String>,
    /// Also deletes the lock. The fencing tokens of the key keep growing nevertheless. Must be false for a permit of a
    /// semaphore. The default is false.
    delete_lock: Option<bool>,
    /// Ends the grant as an operator. From then on the holder's heartbeats and releases are answered 409 `revoked`. The
    /// default is false.
    force: Option<bool>,
    /// The reason, shown to the former holder. Only allowed together with `force`.
    reason: Option<String>,
}

/// The permit to release.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is the schema of what `ReleasePermit` reads")]
struct ReleasePermitBody {
    /// The version of the grant.
    version: String,
    /// New data. By default the data stays as it is.
    data: Option<String>,
    /// Ends the grant as an operator. From then on the holder's heartbeats and releases are answered 409 `revoked`. The
    /// default is false.
    force: Option<bool>,
    /// The reason, shown to the former holder. Only allowed together with `force`.
    reason: Option<String>,
}

/// A release, by the holder or by force.
enum AnyRelease {
    ByHolder(Release),
    Forced(ForcedRelease),
}

/// The body of a release of a lock.
pub(crate) struct ReleaseLock(AnyRelease);

impl ReadBody for ReleaseLock {
    fn read(fields: &mut Fields<'_>, _: &Defaults) -> Option<Self> {
        read_any(Kind::Mutex, fields).map(Self)
    }
}

/// The body of a release of a permit.
pub(crate) struct ReleasePermit(AnyRelease);

impl ReadBody for ReleasePermit {
    fn read(fields: &mut Fields<'_>, _: &Defaults) -> Option<Self> {
        read_any(Kind::Semaphore, fields).map(Self)
    }
}

fn read_any(kind: Kind, fields: &mut Fields<'_>) -> Option<AnyRelease> {
    let force = fields.flag("force");
    if force {
        fields.need(Role::Admin);
    }
    let needs_version = !force || kind == Kind::Semaphore;
    let version = if needs_version {
        fields.required("version", |fields| fields.version("version"))
    } else {
        fields.version("version")
    };
    let data = fields.data("data").map_or(DataEdit::Keep, DataEdit::Set);
    let delete_lock = kind == Kind::Mutex && fields.flag("delete_lock");
    if !force && fields.is_given("reason") {
        fields.error("reason", "needs force");
    }
    let reason = fields.reason("reason");
    if force {
        let forced = ForcedRelease { kind, version, data, delete_lock, by: None, reason };
        return (version.is_some() || !needs_version).then_some(AnyRelease::Forced(forced));
    }
    Some(AnyRelease::ByHolder(Release { kind, version: version?, data, delete_lock }))
}

async fn release(app: &App, id: KeyId, release: AnyRelease, caller: &Caller) -> Result<Response, Problem> {
    let view = match release {
        AnyRelease::ByHolder(release) => app.service.release(id, release).await?,
        AnyRelease::Forced(forced) => {
            app.service.force_release(id, ForcedRelease { by: caller.who(), ..forced }).await?
        }
    };
    Ok(json(&GrantBody::from(&view)))
}

problems!(ReleaseProblems: KeysWithBody, NotFound, VersionMismatch, Revoked, GuardedTransactionOpen, WrongKind);

/// End a grant
///
/// Answers the state of the lock after the release. Also works after the lease has ended, as long as nobody else has
/// been granted the lock. A repeated release changes nothing. Also works for a permit of a semaphore. With `force` an
/// operator ends the grant of another holder; a lock that nobody holds stays as it is.
#[utoipa::path(
    post,
    path = "/locks/{key}/release",
    tag = "locks",
    params(LockKeyParam, TenantParam),
    request_body(
        content = ReleaseLockBody,
        description = "The example ends the grant of the first example of acquire.",
        example = json!({"version": "0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42"})
    ),
    responses(
        (status = 200, description = "Released; `locked` is false.", body = GrantBody<'_>),
        ReleaseProblems
    )
)]
pub(crate) async fn release_lock(
    extract::State(app): extract::State<State>,
    KeyWithBody { id, body, caller }: KeyWithBody<ReleaseLock>,
) -> Result<Response, Problem> {
    release(&app, id, body.0, &caller).await
}

/// Release a permit
///
/// Answers the state of the permit after the release. Also works after the lease has ended, as long as the permit's
/// slot has not been granted again. A repeated release changes nothing. With `force` an operator ends the grant of
/// another holder.
#[utoipa::path(
    post,
    path = "/semaphores/{key}/release",
    tag = "semaphores",
    params(SemaphoreKeyParam, TenantParam),
    request_body(
        content = ReleasePermitBody,
        description = "The example releases the permit of the first example of acquire.",
        example = json!({"version": "0199a3c0-7b21-4f6e-8c3d-52d0c1b9e864"})
    ),
    responses(
        (status = 200, description = "Released; `locked` is false.", body = GrantBody<'_>),
        ReleaseProblems
    )
)]
pub(crate) async fn release_permit(
    extract::State(app): extract::State<State>,
    KeyWithBody { id, body, caller }: KeyWithBody<ReleasePermit>,
) -> Result<Response, Problem> {
    release(&app, id, body.0, &caller).await
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;
    use crate::request::read_body;

    const VERSION: &str = r#""version":"0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42""#;

    fn lock(body: &str) -> Result<AnyRelease, Vec<String>> {
        read_body(body).map(|ReleaseLock(release)| release)
    }

    fn permit(body: &str) -> Result<AnyRelease, Vec<String>> {
        read_body(body).map(|ReleasePermit(release)| release)
    }

    #[test]
    fn only_the_forced_release_of_a_lock_goes_without_a_version() {
        assert_eq!(lock("{}").err().unwrap(), ["version"]);
        assert!(
            matches!(lock(r#"{"force":true}"#), Ok(AnyRelease::Forced(forced)) if forced.version.is_none())
        );
        assert_eq!(permit(r#"{"force":true}"#).err().unwrap(), ["version"]);
        assert!(matches!(permit(&format!("{{{VERSION}}}")), Ok(AnyRelease::ByHolder(_))));
    }

    #[test]
    fn a_reason_needs_force_and_has_at_most_1000_characters() {
        let with = |rest: &str| lock(&format!("{{{VERSION}{rest}}}"));
        assert_eq!(with(r#","reason":"stuck""#).err().unwrap(), ["reason"]);
        assert_eq!(with(r#","reason":"stuck","force":false"#).err().unwrap(), ["reason"]);
        assert!(with(r#","reason":null,"force":false"#).is_ok());
        let long = |characters| with(&format!(r#","force":true,"reason":"{}""#, "é".repeat(characters)));
        assert!(matches!(long(1_000), Ok(AnyRelease::Forced(forced)) if forced.reason.is_some()));
        assert_eq!(long(1_001).err().unwrap(), ["reason"]);
        assert_eq!(with(r#","force":true,"version":"x""#).err().unwrap(), ["version"]);
    }
}
