//! `UNLOCK /terraform/{key}` and `DELETE /terraform/{key}`

use std::collections::BTreeMap;

use axum::{
    extract,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use db_locks_service::{
    ServiceError,
    access::Role,
    domain::{DataEdit, ForcedRelease, KeyId, Kind, Owner, Refusal, Release},
};
use utoipa::{
    IntoResponses, ToSchema,
    openapi::{self, ContentBuilder, Ref, RefOr},
};

use super::answer::{LockInfoBody, held_by_other};
use crate::{
    auth::Caller,
    http::{App, State},
    problem::{Problem, problems},
    request::{LeaseParam, LockKeyParam, StateLock, TenantParam},
};

problems!(UnlockStateProblems: KeysWithBody, WrongKind);

/// The answers other than success. 409 is a problem, or the lock information of the holder.
struct UnlockStateRefusals;

impl IntoResponses for UnlockStateRefusals {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        let mut responses = UnlockStateProblems::responses();
        if let Some(RefOr::T(conflict)) = responses.get_mut("409") {
            let schema = Ref::from_schema_name(LockInfoBody::name());
            let content = ContentBuilder::new().schema(Some(schema)).build();
            conflict.content.insert("application/json".to_owned(), content.into());
            conflict.description += " As `application/json`: another caller holds the lock. The body is the lock information of the holder.";
        }
        responses
    }
}

/// How often the release of a grant that has ended meanwhile is tried again. A grant that was ended by force stays in sight, while a guarded
/// transaction is open.
const MOST_TRIES: u32 = 10;

/// Unlock a state of Terraform or `OpenTofu`
///
/// Use this path as `unlock_address` of their `http` backend. By default they send the method UNLOCK, which works like
/// DELETE. If nobody holds the lock, the answer is 200 too. A request with an empty body, as `terraform force-unlock`
/// sends it, is a forced release: it ends the grant of any holder.
#[utoipa::path(
    delete,
    path = "/terraform/{key}",
    tag = "terraform",
    params(LockKeyParam, LeaseParam, TenantParam),
    request_body(
        content = Option<LockInfoBody>,
        example = json!({"ID": "f4a7c1f0-6c3a-4d5e-8a53-0c6f2f1b7a11"})
    ),
    responses((status = 200, description = "Unlocked."), UnlockStateRefusals)
)]
pub(crate) async fn unlock_state(
    extract::State(app): extract::State<State>,
    StateLock { id, info, caller, .. }: StateLock,
) -> Result<Response, Problem> {
    match info {
        Some(info) => unlock(&app, id, &caller.owner(info.owner)).await,
        None => force(&app, id, &caller).await,
    }
}

/// Unlocks for the holder.
async fn unlock(app: &App, id: KeyId, owner: &Owner) -> Result<Response, Problem> {
    let mut left = MOST_TRIES;
    loop {
        let view = match app.service.get_lock(id.clone()).await {
            Err(ServiceError::Refused { refusal: Refusal::NotFound, .. }) => return unlocked(),
            view => view?,
        };
        let Some(held) = &view.held else { return unlocked() };
        if held.owner != *owner {
            return held_by_other(StatusCode::CONFLICT, &view).unwrap_or_else(unlocked);
        }
        let release =
            Release { kind: Kind::Mutex, version: held.version, data: DataEdit::Keep, delete_lock: false };
        match app.service.release(id.clone(), release).await {
            Ok(_) => return unlocked(),
            // Ended meanwhile, and perhaps granted to somebody else.
            Err(ServiceError::Refused {
                refusal: Refusal::NotFound | Refusal::VersionMismatch | Refusal::Revoked(_),
                ..
            }) if left > 0 => left -= 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Ends the grant of any holder.
async fn force(app: &App, id: KeyId, caller: &Caller) -> Result<Response, Problem> {
    caller.check_role(Role::Admin)?;
    let forced = ForcedRelease {
        kind: Kind::Mutex,
        version: None,
        data: DataEdit::Keep,
        delete_lock: false,
        by: caller.who(),
        reason: None,
    };
    match app.service.force_release(id, forced).await {
        Ok(_) | Err(ServiceError::Refused { refusal: Refusal::NotFound, .. }) => unlocked(),
        Err(error) => Err(error.into()),
    }
}

/// The answer of a successful unlock, without a body.
#[expect(clippy::unnecessary_wraps, reason = "it ends functions that can fail")]
fn unlocked() -> Result<Response, Problem> {
    Ok(StatusCode::OK.into_response())
}
