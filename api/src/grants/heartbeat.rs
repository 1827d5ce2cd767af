//! `POST /locks/{key}/heartbeat` and `POST /semaphores/{key}/heartbeat`

use axum::{extract, response::Response};
use db_locks_service::domain::{DataEdit, KeyId, Kind, Version};
use utoipa::ToSchema;

use crate::{
    answer::{GrantBody, json},
    http::{App, State},
    problem::{Problem, problems},
    request::{Defaults, Fields, KeyWithBody, LockKeyParam, ReadBody, SemaphoreKeyParam, TenantParam},
};

/// The grant to renew, and the changes to it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is the schema of what `Heartbeat` reads")]
struct HeartbeatBody {
    /// The version of the grant.
    version: String,
    /// The new lease, in milliseconds from now. By default the lease is as long as the last one of the grant.
    lease_duration_ms: Option<i64>,
    /// New data. By default the data stays as it is.
    data: Option<String>,
    /// Removes the data. Not allowed together with `data`. The default is false.
    delete_data: Option<bool>,
}

/// The body of a heartbeat.
pub(crate) struct Heartbeat {
    version: Version,
    lease_ms: Option<i64>,
    data: DataEdit,
}

impl ReadBody for Heartbeat {
    fn read(fields: &mut Fields<'_>, defaults: &Defaults) -> Option<Self> {
        let version = fields.required("version", |fields| fields.version("version"));
        let lease_ms = fields.lease(defaults);
        let data = fields.data("data");
        let data = match (data, fields.flag("delete_data")) {
            (None, true) if !fields.is_given("data") => DataEdit::Delete,
            (_, true) => {
                fields.error("delete_data", "must be false together with data");
                return None;
            }
            (data, false) => data.map_or(DataEdit::Keep, DataEdit::Set),
        };
        Some(Self { version: version?, lease_ms, data })
    }
}

async fn heartbeat(app: &App, id: KeyId, kind: Kind, body: Heartbeat) -> Result<Response, Problem> {
    let Heartbeat { version, lease_ms, data } = body;
    let view = app.service.heartbeat(id, kind, version, lease_ms, data).await?;
    Ok(json(&GrantBody::from(&view)))
}

problems!(HeartbeatProblems: KeysWithBody, NotFound, VersionMismatch, Revoked, LeaseExpired, WrongKind);

/// Renew a grant
///
/// Starts the lease of the grant again from now. The service never renews a grant by itself, so send a heartbeat every
/// third of the lease. Also works for a permit of a semaphore.
#[utoipa::path(
    post,
    path = "/locks/{key}/heartbeat",
    tag = "locks",
    params(LockKeyParam, TenantParam),
    request_body(
        content = HeartbeatBody,
        description = "The example renews the grant of the first example of acquire.",
        example = json!({"version": "0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42", "lease_duration_ms": 300_000})
    ),
    responses((status = 200, description = "Renewed.", body = GrantBody<'_>), HeartbeatProblems)
)]
pub(crate) async fn heartbeat_lock(
    extract::State(app): extract::State<State>,
    KeyWithBody { id, body, .. }: KeyWithBody<Heartbeat>,
) -> Result<Response, Problem> {
    heartbeat(&app, id, Kind::Mutex, body).await
}

/// Renew the grant of a permit
///
/// Starts the lease of the permit again from now. The service never renews a permit by itself, so send a heartbeat
/// every third of the lease.
#[utoipa::path(
    post,
    path = "/semaphores/{key}/heartbeat",
    tag = "semaphores",
    params(SemaphoreKeyParam, TenantParam),
    request_body(
        content = HeartbeatBody,
        description = "The example renews the permit of the first example of acquire.",
        example = json!({"version": "0199a3c0-7b21-4f6e-8c3d-52d0c1b9e864", "lease_duration_ms": 300_000})
    ),
    responses((status = 200, description = "Renewed.", body = GrantBody<'_>), HeartbeatProblems)
)]
pub(crate) async fn heartbeat_permit(
    extract::State(app): extract::State<State>,
    KeyWithBody { id, body, .. }: KeyWithBody<Heartbeat>,
) -> Result<Response, Problem> {
    heartbeat(&app, id, Kind::Semaphore, body).await
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use db_locks_service::domain::Data;

    use super::*;
    use crate::request::read_body;

    fn read(body: &str) -> Result<DataEdit, Vec<String>> {
        read_body(body).map(|body: Heartbeat| body.data)
    }

    #[test]
    fn the_version_is_required() {
        assert_eq!(read("").unwrap_err(), ["version"]);
        assert_eq!(read(r#"{"version":"x"}"#).unwrap_err(), ["version"]);
    }

    #[test]
    fn data_is_kept_set_or_deleted() {
        let with = |rest| read(&format!(r#"{{"version":"0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42"{rest}}}"#));
        assert_eq!(with(""), Ok(DataEdit::Keep));
        assert_eq!(with(r#","data":null"#), Ok(DataEdit::Keep));
        assert_eq!(with(r#","data":"""#), Ok(DataEdit::Set(Data::new("").unwrap())));
        assert_eq!(with(r#","delete_data":true"#), Ok(DataEdit::Delete));
        assert_eq!(with(r#","data":null,"delete_data":true"#), Ok(DataEdit::Delete));
        assert_eq!(with(r#","data":"x","delete_data":false"#), Ok(DataEdit::Set(Data::new("x").unwrap())));
        assert_eq!(with(r#","data":"x","delete_data":true"#).unwrap_err(), ["delete_data"]);
    }
}
