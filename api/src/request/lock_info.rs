//! Requests of Terraform and `OpenTofu`. Their lock information is stored unchanged.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use db_locks_service::domain::{Data, KeyId, Owner};

use super::{Fields, QueryParams, body, errors::Errors, read_id};
use crate::{auth::Caller, http::App, problem::Problem};

/// The lock information of a client that holds or wants the lock of a state.
#[derive(Debug)]
pub(crate) struct LockInfo {
    /// The member `ID`.
    pub(crate) owner: Owner,
    /// The whole JSON text.
    pub(crate) data: Data,
}

impl LockInfo {
    /// Reads a body. Only the member `ID` is used; the others belong to Terraform.
    fn read(bytes: &[u8], errors: &mut Errors) -> Option<Self> {
        let mut fields = Fields::parse(bytes, errors);
        let owner = fields.required("ID", |fields| fields.owner("ID"))?;
        let data = Data::new(&String::from_utf8_lossy(bytes));
        let data = data.map_err(|error| errors.add("body", error.to_string())).ok()?;
        Some(Self { owner, data })
    }
}

/// A request for the lock of a state.
#[derive(Debug)]
pub(crate) struct StateLock {
    /// Tenant and key.
    pub(crate) id: KeyId,
    /// The lease, if the query has one.
    pub(crate) lease_ms: Option<i64>,
    /// The lock information; `None` for an empty body.
    pub(crate) info: Option<LockInfo>,
    /// The caller.
    pub(crate) caller: Caller,
}

impl FromRequest<Arc<App>> for StateLock {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::of(&parts);
        let mut errors = Errors::default();
        let id = read_id(&parts, app, &caller, &mut errors)?;
        let tenant = id.as_ref().map_or_else(|| caller.tenant(&app.defaults), |id| &id.tenant);
        let bytes = body::read(&mut parts, body, tenant, app.authentication.as_deref()).await?;
        let mut params = QueryParams::parse(parts.uri.query(), &mut errors);
        let lease_ms = params.lease(&app.defaults.limits);
        params.finish();
        let info = if bytes.is_empty() { None } else { LockInfo::read(&bytes, &mut errors) };
        errors.check(id.map(|id| Self { id, lease_ms, info, caller }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Result<String, Vec<String>> {
        let mut errors = Errors::default();
        let info = LockInfo::read(body, &mut errors);
        let names: Vec<_> = errors.pairs().into_iter().map(|(field, _)| field.to_owned()).collect();
        info.map(|info| info.owner.as_str().to_owned()).ok_or(names)
    }

    #[test]
    fn only_the_id_matters() {
        assert_eq!(read(br#"{"ID":"a","Operation":"apply","More":[1,{}]}"#), Ok("a".to_owned()));
        for body in [&b"{}"[..], br#"{"id":"a"}"#, br#"{"ID":null}"#, br#"{"ID":""}"#, br#"{"ID":7}"#] {
            assert_eq!(read(body), Err(vec!["ID".to_owned()]), "{}", String::from_utf8_lossy(body));
        }
        assert_eq!(read(br#"{"ID":"a","ID":"b"}"#), Err(vec!["ID".to_owned()]));
    }

    #[test]
    fn the_body_is_one_object_that_data_can_hold() {
        assert!(read(b"[]").is_err_and(|names| names.contains(&"body".to_owned())));
        assert!(read(b"{").is_err_and(|names| names.contains(&"body".to_owned())));
        let long = format!(r#"{{"ID":"a","Info":"{}"}}"#, "x".repeat(32 * 1024));
        assert_eq!(read(long.as_bytes()), Err(vec!["body".to_owned()]));
    }
}
