//! `POST /locks/{key}/heartbeat`

use axum::{extract, response::Response};
use db_locks_service::{
    Limits,
    domain::{Data, DataEdit, Kind, Version},
};
use utoipa::ToSchema;

use crate::{
    answer::{GrantBody, json},
    http::State,
    problem::{Problem, problems},
    request::{Fields, KeyParam, KeyWithBody, ReadBody, TenantParam},
};

/// Which grant to renew, and how.
#[derive(ToSchema)]
pub(crate) struct HeartbeatBody {
    /// The version of the grant.
    #[schema(value_type = String, format = "uuid")]
    version: Version,
    /// The new lease from now on, in milliseconds. Left out, it is the grant's.
    #[schema(minimum = 1)]
    lease_duration_ms: Option<i64>,
    /// New data. Left out, the data stays.
    #[schema(value_type = Option<String>, max_length = 32_768, pattern = r"^[^\u0000]*$")]
    data: Option<Data>,
    /// Removes the data; not together with `data`. Left out, it is false.
    #[schema(value_type = Option<bool>)]
    delete_data: bool,
}

impl ReadBody for HeartbeatBody {
    fn read(fields: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let version = fields.required("version", |fields| fields.version("version"));
        let lease_duration_ms = fields.integer("lease_duration_ms", 1, limits.max_lease_ms);
        let data = fields.data("data");
        let delete_data = fields.flag("delete_data");
        if delete_data && fields.is_given("data") {
            fields.error("delete_data", "must be false together with data");
        }
        Some(Self { version: version?, lease_duration_ms, data, delete_data })
    }
}

impl HeartbeatBody {
    /// The grant, its new lease, and what becomes of the data.
    pub(crate) fn into_parts(self) -> (Version, Option<i64>, DataEdit) {
        let data = match self.data {
            Some(data) => DataEdit::Set(data),
            None if self.delete_data => DataEdit::Delete,
            None => DataEdit::Keep,
        };
        (self.version, self.lease_duration_ms, data)
    }
}

problems! {
    /// What `heartbeat_lock` can answer instead of the grant.
    HeartbeatLockProblems: KeysWithBody, NotFound, VersionMismatch, LeaseExpired, WrongKind
}

/// Renew a grant
///
/// The grant is leased anew from now. The service never renews by itself: send a heartbeat every third of the lease.
/// Works for a permit of a semaphore too.
#[utoipa::path(
    post,
    path = "/locks/{key}/heartbeat",
    tag = "locks",
    params(KeyParam::<false>, TenantParam),
    request_body(
        content = HeartbeatBody,
        description = "The example renews the grant of acquire's first example.",
        example = json!({"version": "0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42", "lease_duration_ms": 300_000})
    ),
    responses((status = 200, description = "Renewed.", body = GrantBody<'_>), HeartbeatLockProblems)
)]
pub(crate) async fn heartbeat_lock(
    extract::State(app): extract::State<State>,
    KeyWithBody { id, body }: KeyWithBody<HeartbeatBody>,
) -> Result<Response, Problem> {
    let (version, lease_ms, data) = body.into_parts();
    let view = app.service.heartbeat(id, Kind::Mutex, version, lease_ms, data).await?;
    Ok(json(&GrantBody::from(&view)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;
    use crate::request::read_body;

    fn read(body: &str) -> Result<DataEdit, Vec<String>> {
        read_body(body).map(|body: HeartbeatBody| body.into_parts().2)
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
