//! `LOCK /terraform/{key}` and `POST /terraform/{key}`

use axum::{
    extract,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use db_locks_service::{
    AcquireRequest, ServiceError,
    domain::{Kind, Refusal},
};

use super::answer::{LockInfoBody, held_by_other};
use crate::{
    answer::{GrantBody, granted},
    http::State,
    problem::{Problem, problems},
    request::{LeaseParam, LockKeyParam, StateLock, TenantParam},
};

/// The number of tries. The service tries again if the lock is free by the time its holder is looked up.
const MOST_TRIES: usize = 3;

problems!(LockStateProblems: KeysWithBody, WrongKind);

/// Lock a state of Terraform or `OpenTofu`
///
/// Use this path as `lock_address` of their `http` backend. By default they send the method LOCK, which works like
/// POST. The owner of the lock is the `ID` of the lock information, and its data is the whole lock information.
/// Terraform and `OpenTofu` send no heartbeats. The default lease is therefore the longest one that is configured. A
/// repeated request with the same `ID` answers the same grant.
#[utoipa::path(
    post,
    path = "/terraform/{key}",
    tag = "terraform",
    params(LockKeyParam, LeaseParam, TenantParam),
    request_body(
        content = LockInfoBody,
        example = json!({
            "ID": "f4a7c1f0-6c3a-4d5e-8a53-0c6f2f1b7a11", "Operation": "OperationTypeApply", "Info": "", "Who": "ann@build-7",
            "Version": "1.11.4", "Created": "2026-11-23T05:06:53.381Z", "Path": ""
        })
    ),
    responses(
        (status = 200, description = "Locked.", body = GrantBody<'_>),
        (status = 423, description = "Another caller holds the lock. The body is the lock information of the holder.", body = LockInfoBody),
        LockStateProblems
    )
)]
pub(crate) async fn lock_state(
    extract::State(app): extract::State<State>,
    StateLock { id, lease_ms, info, caller }: StateLock,
) -> Result<Response, Problem> {
    let info = info.ok_or_else(|| Problem::invalid_field("body", "must be the lock information"))?;
    let request = AcquireRequest {
        kind: Kind::Mutex,
        owner: caller.owner(info.owner),
        lease_ms: Some(lease_ms.unwrap_or(app.service.limits().max_lease_ms)),
        wait_ms: Some(0),
        additional_wait_ms: 0,
        data: Some(info.data),
        replace_data: true,
        delete_on_release: false,
        only_if_exists: false,
        reentrant: true,
        guarded: false,
        version: None,
    };
    let mut tries = MOST_TRIES;
    loop {
        tries -= 1;
        let refused = match app.service.acquire(id.clone(), request.clone()).await {
            Ok(delivery) => return Ok(granted(delivery)),
            Err(error) => error,
        };
        if !matches!(refused, ServiceError::Refused { refusal: Refusal::NotGranted(_), .. }) {
            return Err(refused.into());
        }
        let view = app.service.get_lock(id.clone()).await?;
        if let Some(response) = held_by_other(StatusCode::LOCKED, &view) {
            return response;
        }
        if tries == 0 {
            return Ok(Problem::from(refused).into_response());
        }
    }
}
