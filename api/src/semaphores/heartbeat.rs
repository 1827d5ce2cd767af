//! `POST /semaphores/{key}/heartbeat`

use axum::{extract, response::Response};
use db_locks_service::domain::Kind;

use crate::{
    answer::{GrantBody, json},
    http::State,
    locks::HeartbeatBody,
    problem::{Problem, problems},
    request::{KeyParam, KeyWithBody, TenantParam},
};

problems! {
    /// What `heartbeat_permit` can answer instead of the grant.
    HeartbeatPermitProblems: KeysWithBody, NotFound, VersionMismatch, LeaseExpired, WrongKind
}

/// Renew the grant of a permit
///
/// The permit is leased anew from now. The service never renews by itself: send a heartbeat every third of the lease.
#[utoipa::path(
    post,
    path = "/semaphores/{key}/heartbeat",
    tag = "semaphores",
    params(KeyParam::<true>, TenantParam),
    request_body(
        content = HeartbeatBody,
        description = "The example renews the permit of acquire's first example.",
        example = json!({"version": "0199a3c0-7b21-4f6e-8c3d-52d0c1b9e864", "lease_duration_ms": 300_000})
    ),
    responses((status = 200, description = "Renewed.", body = GrantBody<'_>), HeartbeatPermitProblems)
)]
pub(crate) async fn heartbeat_permit(
    extract::State(app): extract::State<State>,
    KeyWithBody { id, body }: KeyWithBody<HeartbeatBody>,
) -> Result<Response, Problem> {
    let (version, lease_ms, data) = body.into_parts();
    let view = app.service.heartbeat(id, Kind::Semaphore, version, lease_ms, data).await?;
    Ok(json(&GrantBody::from(&view)))
}
