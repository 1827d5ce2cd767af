//! Requests: read, checked and converted to the domain's types, in this one place.
//!
//! Checks are made in one order: permissions (403), the size of the body (413), its type (415), then everything else (400) with all errors
//! that can be found. The router has answered 404 and 405 before.

mod body;
mod cursor;
mod document;
mod errors;
mod escape;
mod fields;
mod lock_info;
mod members;
mod named_fields;
mod nearest;
mod query;
mod target;
mod wait;

use std::{future::ready, sync::Arc};

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::request::Parts,
};
use db_locks_service::domain::{KeyId, Tenant};

use self::errors::Errors;
pub(crate) use self::{
    cursor::Cursor,
    document::{
        LeaseParam, LimitParams, LockFilterParams, LockKeyParam, PrefixParam, SemaphoreKeyParam, TenantParam,
        VersionParam, constrain_body, constrain_parameters,
    },
    fields::Fields,
    lock_info::StateLock,
    query::QueryParams,
    target::key_of,
    wait::{Wait, check_refresh_period},
};
pub(crate) use crate::http::Defaults;
use crate::{auth::Caller, http::App, problem::Problem};

/// A body that can be read from its fields.
pub(crate) trait ReadBody: Sized {
    /// Reads all fields and notes the errors. `None` only if there are errors.
    fn read(fields: &mut Fields<'_>, defaults: &Defaults) -> Option<Self>;
}

/// A query that can be read from its parameters.
pub(crate) trait ReadQuery: Sized {
    /// Reads all parameters and notes the errors.
    fn read(params: &mut QueryParams<'_>) -> Self;
}

/// A request without query parameters.
#[derive(Debug)]
pub(crate) struct NoQuery;

impl ReadQuery for NoQuery {
    fn read(_: &mut QueryParams<'_>) -> Self {
        Self
    }
}

/// A request for one key, with a body.
#[derive(Debug)]
pub(crate) struct KeyWithBody<B> {
    /// Tenant and key.
    pub(crate) id: KeyId,
    /// The body.
    pub(crate) body: B,
    /// The caller.
    pub(crate) caller: Caller,
}

impl<B: ReadBody> FromRequest<Arc<App>> for KeyWithBody<B> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::of(&parts);
        let mut errors = Errors::default();
        let id = read_id(&parts, app, &caller, &mut errors)?;
        let tenant = id.as_ref().map_or_else(|| caller.tenant(&app.defaults), |id| &id.tenant);
        let bytes = body::read(&mut parts, body, tenant, app.authentication.as_deref()).await?;
        let _: NoQuery = read_query(&parts, &mut errors);
        let body = read_fields(&bytes, &caller.defaults(&app.defaults), &mut errors);
        errors.check_for(id.zip(body), &caller).map(|(id, body)| Self { id, body, caller })
    }
}

/// A request with a body and without a key.
#[derive(Debug)]
pub(crate) struct WithBody<B> {
    /// The body.
    pub(crate) body: B,
    /// The caller.
    pub(crate) caller: Caller,
}

impl<B: ReadBody> FromRequest<Arc<App>> for WithBody<B> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::of(&parts);
        caller.check_tenant(&parts.headers)?;
        let bytes =
            body::read(&mut parts, body, caller.tenant(&app.defaults), app.authentication.as_deref()).await?;
        let mut errors = Errors::default();
        let _: NoQuery = read_query(&parts, &mut errors);
        let body = read_fields(&bytes, &app.defaults, &mut errors);
        errors.check_for(body, &caller).map(|body| Self { body, caller })
    }
}

/// A request for one key, without a body.
#[derive(Debug)]
pub(crate) struct KeyWithQuery<Q> {
    /// Tenant and key.
    pub(crate) id: KeyId,
    /// The query.
    pub(crate) query: Q,
    /// The caller.
    pub(crate) caller: Caller,
}

impl<Q: ReadQuery + Send> FromRequestParts<Arc<App>> for KeyWithQuery<Q> {
    type Rejection = Problem;

    fn from_request_parts(
        parts: &mut Parts,
        app: &Arc<App>,
    ) -> impl Future<Output = Result<Self, Problem>> + Send {
        let caller = Caller::of(parts);
        let mut errors = Errors::default();
        let id = read_id(parts, app, &caller, &mut errors);
        let query = read_query(parts, &mut errors);
        ready(id.and_then(|id| errors.check(id)).map(|id| Self { id, query, caller }))
    }
}

/// A request for a list of a tenant's keys.
#[derive(Debug)]
pub(crate) struct TenantWithQuery<Q> {
    /// The tenant.
    pub(crate) tenant: Tenant,
    /// The query.
    pub(crate) query: Q,
    /// The caller.
    pub(crate) caller: Caller,
}

impl<Q: ReadQuery + Send> FromRequestParts<Arc<App>> for TenantWithQuery<Q> {
    type Rejection = Problem;

    fn from_request_parts(
        parts: &mut Parts,
        app: &Arc<App>,
    ) -> impl Future<Output = Result<Self, Problem>> + Send {
        let caller = Caller::of(parts);
        let mut errors = Errors::default();
        let tenant = read_tenant(parts, app, &caller, &mut errors);
        let query = read_query(parts, &mut errors);
        ready(tenant.and_then(|tenant| errors.check(tenant)).map(|tenant| Self { tenant, query, caller }))
    }
}

/// A request without a body and without a key.
#[derive(Debug)]
pub(crate) struct CallerWithQuery<Q> {
    /// The caller.
    pub(crate) caller: Caller,
    /// The query.
    pub(crate) query: Q,
}

impl<Q: ReadQuery + Send> FromRequestParts<Arc<App>> for CallerWithQuery<Q> {
    type Rejection = Problem;

    fn from_request_parts(
        parts: &mut Parts,
        _: &Arc<App>,
    ) -> impl Future<Output = Result<Self, Problem>> + Send {
        let caller = Caller::of(parts);
        let mut errors = Errors::default();
        let query = read_query(parts, &mut errors);
        let allowed = caller.check_tenant(&parts.headers);
        ready(allowed.and_then(|()| errors.check(Some(query))).map(|query| Self { caller, query }))
    }
}

/// A request for the service itself, without a caller.
impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    fn from_request_parts(parts: &mut Parts, _: &S) -> impl Future<Output = Result<Self, Problem>> + Send {
        let mut errors = Errors::default();
        let query = read_query(parts, &mut errors);
        ready(errors.check(Some(query)))
    }
}

fn read_fields<B: ReadBody>(bytes: &[u8], defaults: &Defaults, errors: &mut Errors) -> Option<B> {
    let mut fields = Fields::parse(bytes, errors);
    let body = B::read(&mut fields, defaults);
    fields.finish(|| Fields::known_to(|fields| drop(B::read(fields, defaults))));
    body
}

/// Reads a body; the error is the names of the invalid fields.
#[cfg(test)]
pub(crate) fn read_body<B: ReadBody>(body: &str) -> Result<B, Vec<String>> {
    let mut errors = Errors::default();
    let body = read_fields(body.as_bytes(), &Defaults::new(db_locks_service::Limits::default()), &mut errors);
    let names: Vec<_> = errors.pairs().into_iter().map(|(field, _)| field.to_owned()).collect();
    body.filter(|_| names.is_empty()).ok_or(names)
}

/// The names of a body's fields, for tests.
#[cfg(test)]
pub(crate) fn names_read<B: ReadBody>() -> Vec<String> {
    let defaults = Defaults::new(db_locks_service::Limits::default());
    Fields::known_to(|fields| drop(B::read(fields, &defaults)))
}

fn read_query<Q: ReadQuery>(parts: &Parts, errors: &mut Errors) -> Q {
    let mut params = QueryParams::parse(parts.uri.query(), errors);
    let query = Q::read(&mut params);
    params.finish();
    query
}

/// Reads tenant and key, and checks that the caller may use them. `None` if one of them is invalid, which is noted.
fn read_id(parts: &Parts, app: &App, caller: &Caller, errors: &mut Errors) -> Result<Option<KeyId>, Problem> {
    let tenant = read_tenant(parts, app, caller, errors)?;
    let key = target::read_key(parts.uri.path(), errors);
    if let Some(key) = &key {
        caller.check_key(key)?;
    }
    Ok(tenant.zip(key).map(|(tenant, key)| KeyId { tenant, key }))
}

fn read_tenant(
    parts: &Parts,
    app: &App,
    caller: &Caller,
    errors: &mut Errors,
) -> Result<Option<Tenant>, Problem> {
    caller.check_tenant(&parts.headers)?;
    Ok(target::read_tenant(&parts.headers, caller.tenant(&app.defaults), errors))
}
