//! `POST /semaphores/{key}/acquire`

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

/// For how long to take a permit, and how long to wait for it. All fields may be left out; null is as good as absent.
#[derive(ToSchema)]
pub(crate) struct AcquirePermitBody {
    /// Who holds it, shown to others. Left out, it is `anonymous`.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255, pattern = r"^[^\u0000]*$")]
    owner: Option<Owner>,
    /// The lease, in milliseconds. Left out, it is the semaphore's.
    #[schema(minimum = 1)]
    lease_duration_ms: Option<i64>,
    /// How long to wait, in milliseconds; 0 tries once. Left out, it is as long as the lease.
    #[schema(minimum = 0)]
    wait_ms: Option<i64>,
    /// Waiting time on top of `wait_ms`. Their sum must not exceed the maximum of either. Left out, it is 0.
    #[schema(value_type = Option<i64>, minimum = 0)]
    additional_time_to_wait_for_lock_ms: i64,
    /// The longest pause between two looks at a semaphore that is waited for, where nothing announces a release. Here
    /// everything is announced; the field is checked and changes nothing. Left out, it is 500.
    #[schema(minimum = 1, maximum = 600_000)]
    #[expect(dead_code, reason = "documented and checked; nothing has to be looked at again")]
    refresh_period_ms: Option<i64>,
    /// Text to store with the permit: up to 32 KiB of UTF-8.
    #[schema(value_type = Option<String>, max_length = 32_768, pattern = r"^[^\u0000]*$")]
    data: Option<Data>,
    /// The version of the grant-to-be, chosen by the caller: sent again while the grant stands it answers the same
    /// grant, so a lost answer can be asked for again; after the grant ended it is 409.
    #[schema(value_type = Option<String>, format = "uuid")]
    version: Option<Version>,
}

impl ReadBody for AcquirePermitBody {
    fn read(fields: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let wait = Wait::read(fields, limits);
        Some(Self {
            owner: fields.owner("owner"),
            lease_duration_ms: fields.integer("lease_duration_ms", 1, limits.max_lease_ms),
            wait_ms: wait.wait_ms,
            additional_time_to_wait_for_lock_ms: wait.additional_ms,
            refresh_period_ms: read_refresh_period(fields),
            data: fields.data("data"),
            version: fields.version("version"),
        })
    }
}

impl AcquirePermitBody {
    fn into_request(self, anonymous: &Owner) -> AcquireRequest {
        AcquireRequest {
            kind: Kind::Semaphore,
            owner: self.owner.unwrap_or_else(|| anonymous.clone()),
            lease_ms: self.lease_duration_ms,
            wait_ms: self.wait_ms,
            additional_wait_ms: self.additional_time_to_wait_for_lock_ms,
            data: self.data,
            replace_data: false,
            delete_on_release: false,
            only_if_exists: false,
            reentrant: false,
            version: self.version,
        }
    }
}

problems! {
    /// What `acquire_permit` can answer instead of a grant.
    AcquirePermitProblems: KeysWithBody, NotFound, VersionMismatch, WrongKind, Superseded, NotGranted
}

/// Take a permit
///
/// Answers the grant of one permit, waiting for it if all are out. The semaphore must have been created.
#[utoipa::path(
    post,
    path = "/semaphores/{key}/acquire",
    tag = "semaphores",
    params(KeyParam::<true>, TenantParam),
    request_body(
        content = Option<AcquirePermitBody>,
        examples(
            // As for locks: the examples of heartbeat and release use the permit of the first.
            ("chosen version" = (
                summary = "With a version that the caller chose: the examples of heartbeat and release use it. It is granted once; for another permit choose another version, or leave it out.",
                value = json!({
                    "owner": "worker-7", "lease_duration_ms": 300_000, "wait_ms": 10_000,
                    "version": "0199a3c0-7b21-4f6e-8c3d-52d0c1b9e864"
                })
            )),
            ("defaults" = (summary = "With all defaults", value = json!({}))),
            ("generated version" = (
                summary = "With a version that the service makes; waits for half a minute at most",
                value = json!({"owner": "worker-7", "lease_duration_ms": 30_000, "wait_ms": 30_000})
            ))
        )
    ),
    responses((status = 200, description = "Granted.", body = GrantBody<'_>), AcquirePermitProblems)
)]
pub(crate) async fn acquire_permit(
    extract::State(app): extract::State<State>,
    KeyWithBody { id, body }: KeyWithBody<AcquirePermitBody>,
) -> Result<Response, Problem> {
    let request = body.into_request(&app.anonymous);
    let delivery = app.service.acquire(id, request).await?;
    Ok(granted(delivery))
}
