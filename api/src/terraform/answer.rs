//! The lock information in answers.

use axum::{body::Body, http::StatusCode, response::Response};
use db_locks_service::{
    Rfc3339,
    domain::{Data, LockView},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{answer::json_response, json::json_bytes, problem::Problem};

/// The lock information of Terraform or `OpenTofu`. The service interprets only the member `ID`.
#[derive(Deserialize, ToSchema)]
#[schema(as = TerraformLockInfo)]
pub(super) struct LockInfoBody {
    /// The id of the operation that locks the state. It becomes the owner of the lock.
    #[serde(rename = "ID")]
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\u0000]*$",
        example = "f4a7c1f0-6c3a-4d5e-8a53-0c6f2f1b7a11"
    )]
    id: String,
}

/// The lock information of a holder that acquired the lock through another path.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SynthesizedLockInfo<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    operation: &'a str,
    info: &'a str,
    who: &'a str,
    version: &'a str,
    created: Rfc3339,
    path: &'a str,
}

/// Answers the lock information of the holder; `None` if nobody holds the lock.
pub(super) fn held_by_other(status: StatusCode, view: &LockView) -> Option<Result<Response, Problem>> {
    let held = view.held.as_ref()?;
    let owner = held.owner.as_str();
    let data = view.data.as_ref().map_or("", Data::as_str);
    let is_theirs = serde_json::from_str::<LockInfoBody>(data).is_ok_and(|info| info.id == owner);
    let body = if is_theirs {
        Ok(Body::from(format!("{data}\n")))
    } else {
        let made = SynthesizedLockInfo {
            id: owner,
            operation: "",
            info: data,
            who: owner,
            version: "",
            created: held.acquired_at.into(),
            path: view.id.key.as_str(),
        };
        json_bytes(&made).map(Body::from).map_err(|_| Problem::internal_error())
    };
    Some(body.map(|body| {
        let mut response = json_response(body);
        *response.status_mut() = status;
        response
    }))
}
