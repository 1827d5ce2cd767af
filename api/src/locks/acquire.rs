//! `POST /locks/{key}/acquire`

use axum::{extract, response::Response};
use db_locks_service::{
    AcquireRequest, Limits,
    domain::{Data, Kind, Owner, Version},
};
use utoipa::ToSchema;

use crate::{
    answer::{GrantBody, granted},
    http::State,
    problem::{Problem, problems},
    request::{Fields, KeyParam, KeyWithBody, ReadBody, TenantParam, Wait, read_refresh_period},
};

/// What to take, for how long, and how long to wait for it. All fields may be left out; null is as good as absent.
#[derive(ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "the contract has five independent switches")]
pub(crate) struct AcquireLockBody {
    /// Who holds it, shown to others. Left out, it is `anonymous`.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255, pattern = r"^[^\u0000]*$")]
    owner: Option<Owner>,
    /// The lease, in milliseconds. Left out, it is 15000 (or the maximum, if that is less), or the semaphore's own
    /// with `uses_semaphore`.
    #[schema(minimum = 1)]
    lease_duration_ms: Option<i64>,
    /// How long to wait, in milliseconds; 0 tries once. Left out, it is as long as the lease.
    #[schema(minimum = 0)]
    wait_ms: Option<i64>,
    /// Waiting time on top of `wait_ms`. Their sum must not exceed the maximum of either. Left out, it is 0.
    #[schema(value_type = Option<i64>, minimum = 0)]
    additional_time_to_wait_for_lock_ms: i64,
    /// The longest pause between two looks at a lock that is waited for, where nothing announces its release. Here
    /// everything is announced; the field is checked and changes nothing. Left out, it is 500.
    #[schema(minimum = 1, maximum = 600_000)]
    #[expect(dead_code, reason = "documented and checked; nothing has to be looked at again")]
    refresh_period_ms: Option<i64>,
    /// Text to store with the lock: up to 32 KiB of UTF-8.
    #[schema(value_type = Option<String>, max_length = 32_768, pattern = r"^[^\u0000]*$")]
    data: Option<Data>,
    /// False keeps the data that an existing lock has, and stores `data` where it has none; true puts `data`, or nothing,
    /// in its place. Left out, it is false.
    #[schema(value_type = Option<bool>)]
    replace_data: bool,
    /// The lock is deleted when this grant ends: at its release, or soon after its lease ended. The fencing tokens of the
    /// key keep growing all the same. Left out, it is false.
    #[schema(value_type = Option<bool>)]
    delete_on_release: bool,
    /// 404 instead of creating the lock. Left out, it is false.
    #[schema(value_type = Option<bool>)]
    acquire_only_if_already_exists: bool,
    /// Held by the same `owner`, which must be given, the grant that stands is answered, unchanged. There is no hold
    /// count: the first release ends the grant. Left out, it is false.
    #[schema(value_type = Option<bool>)]
    reentrant: bool,
    /// The version of the grant-to-be, chosen by the caller: sent again while the grant stands it answers the same
    /// grant, so a lost answer can be asked for again; after the grant ended it is 409.
    #[schema(value_type = Option<String>, format = "uuid")]
    version: Option<Version>,
    /// Take a permit of the semaphore of this key instead. `replace_data`, `delete_on_release`,
    /// `acquire_only_if_already_exists` and `reentrant` must then be false. Left out, it is false.
    #[schema(value_type = Option<bool>)]
    uses_semaphore: bool,
}

impl ReadBody for AcquireLockBody {
    fn read(fields: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let wait = Wait::read(fields, limits);
        let body = Self {
            owner: fields.owner("owner"),
            lease_duration_ms: fields.integer("lease_duration_ms", 1, limits.max_lease_ms),
            wait_ms: wait.wait_ms,
            additional_time_to_wait_for_lock_ms: wait.additional_ms,
            refresh_period_ms: read_refresh_period(fields),
            data: fields.data("data"),
            replace_data: fields.flag("replace_data"),
            delete_on_release: fields.flag("delete_on_release"),
            acquire_only_if_already_exists: fields.flag("acquire_only_if_already_exists"),
            reentrant: fields.flag("reentrant"),
            version: fields.version("version"),
            uses_semaphore: fields.flag("uses_semaphore"),
        };
        if body.uses_semaphore {
            body.refuse_what_semaphores_lack(fields);
        }
        if body.reentrant && !fields.is_given("owner") {
            fields.error("reentrant", "needs an owner");
        }
        Some(body)
    }
}

impl AcquireLockBody {
    fn refuse_what_semaphores_lack(&self, fields: &mut Fields<'_>) {
        for (name, set) in [
            ("replace_data", self.replace_data),
            ("delete_on_release", self.delete_on_release),
            ("acquire_only_if_already_exists", self.acquire_only_if_already_exists),
            ("reentrant", self.reentrant),
        ] {
            if set {
                fields.error(name, "must be false together with uses_semaphore");
            }
        }
    }

    fn into_request(self, anonymous: &Owner) -> AcquireRequest {
        AcquireRequest {
            kind: if self.uses_semaphore { Kind::Semaphore } else { Kind::Mutex },
            owner: self.owner.unwrap_or_else(|| anonymous.clone()),
            lease_ms: self.lease_duration_ms,
            wait_ms: self.wait_ms,
            additional_wait_ms: self.additional_time_to_wait_for_lock_ms,
            data: self.data,
            replace_data: self.replace_data,
            delete_on_release: self.delete_on_release,
            only_if_exists: self.acquire_only_if_already_exists,
            reentrant: self.reentrant,
            version: self.version,
        }
    }
}

problems! {
    /// What `acquire_lock` can answer instead of a grant.
    AcquireLockProblems: KeysWithBody, NotFound, VersionMismatch, WrongKind, Superseded, NotGranted
}

/// Take a lock
///
/// Answers the grant, waiting for it if others hold the lock. A lock that does not exist is created; one whose lease
/// ended is free. A caller that disconnects while it waits leaves the queue.
#[utoipa::path(
    post,
    path = "/locks/{key}/acquire",
    tag = "locks",
    params(KeyParam::<false>, TenantParam),
    request_body(
        content = Option<AcquireLockBody>,
        examples(
            // Shown in the order of their names. The examples of heartbeat and release use the grant of the first; its
            // lease leaves time to read their descriptions.
            ("chosen version" = (
                summary = "With a version that the caller chose: the examples of heartbeat and release use it. It is granted once; for another grant choose another version, or leave it out.",
                value = json!({
                    "owner": "ci-42", "lease_duration_ms": 300_000, "wait_ms": 10_000, "data": "build 811",
                    "version": "0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42"
                })
            )),
            ("defaults" = (summary = "With all defaults", value = json!({}))),
            ("generated version" = (
                summary = "With a version that the service makes; waits for half a minute at most",
                value = json!({"owner": "ci-42", "lease_duration_ms": 30_000, "wait_ms": 30_000, "data": "build 811"})
            ))
        )
    ),
    responses((status = 200, description = "Granted.", body = GrantBody<'_>), AcquireLockProblems)
)]
pub(crate) async fn acquire_lock(
    extract::State(app): extract::State<State>,
    KeyWithBody { id, body }: KeyWithBody<AcquireLockBody>,
) -> Result<Response, Problem> {
    let request = body.into_request(&app.anonymous);
    let delivery = app.service.acquire(id, request).await?;
    Ok(granted(delivery))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;
    use crate::request::read_body;

    fn read(body: &str) -> Result<AcquireRequest, Vec<String>> {
        let body: AcquireLockBody = read_body(body)?;
        Ok(body.into_request(&Owner::new("anonymous").unwrap()))
    }

    #[test]
    fn an_empty_body_takes_the_defaults() {
        let request = read("").unwrap();
        assert_eq!(request.owner.as_str(), "anonymous");
        assert_eq!((request.lease_ms, request.wait_ms, request.additional_wait_ms), (None, None, 0));
        assert!(!request.reentrant && !request.only_if_exists && request.version.is_none());
    }

    #[test]
    fn fields_that_do_not_go_together_are_named() {
        assert_eq!(read(r#"{"reentrant":true}"#).unwrap_err(), ["reentrant"]);
        assert_eq!(read(r#"{"reentrant":true,"owner":null}"#).unwrap_err(), ["reentrant"]);
        assert!(read(r#"{"reentrant":true,"owner":"a"}"#).unwrap().reentrant);
        for name in ["replace_data", "delete_on_release", "acquire_only_if_already_exists", "reentrant"] {
            let with = |value| format!(r#"{{"uses_semaphore":true,"owner":"a","{name}":{value}}}"#);
            assert_eq!(read(&with("true")).unwrap_err(), [name]);
            assert_eq!(read(&with("false")).unwrap().kind, Kind::Semaphore);
            assert_eq!(read(&with("null")).unwrap().kind, Kind::Semaphore);
        }
    }

    #[test]
    fn all_errors_are_named_at_once() {
        let body = r#"{"owner":"","lease_duration_ms":0,"wait_ms":-1,"refresh_period_ms":0,"version":"x","extra":1}"#;
        let mut names = read(body).unwrap_err();
        names.sort();
        assert_eq!(names, ["extra", "lease_duration_ms", "owner", "refresh_period_ms", "version", "wait_ms"]);
        assert_eq!(read(r#"{"lease_duration_ms":86400001}"#).unwrap_err(), ["lease_duration_ms"]);
    }
}
