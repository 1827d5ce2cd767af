//! The caller of a request, as handlers see it.

use std::{borrow::Cow, sync::Arc};

use axum::http::{HeaderMap, HeaderName, request::Parts};
use db_locks_service::{
    access::{Identity, KeyPatterns, Role},
    domain::{HeldView, Key, Owner, Tenant},
};

use crate::{http::Defaults, problem::Problem};

/// The header that names a tenant.
pub(crate) const X_TENANT: HeaderName = HeaderName::from_static("x-tenant");

/// The caller of a request. Without authentication every caller may do everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller(Option<Arc<Identity>>);

impl Caller {
    /// The caller of an authenticated request.
    pub(crate) fn of(parts: &Parts) -> Self {
        Self(parts.extensions.get::<Arc<Identity>>().cloned())
    }

    /// The caller's identity; `None` without authentication.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.0.as_deref()
    }

    /// The caller's name in audit records.
    pub(crate) fn who(&self) -> Option<Arc<str>> {
        self.identity().map(|identity| Arc::clone(&identity.who))
    }

    /// Refuses a caller with a lower role. The middleware has checked the route's role; this is for requests whose body needs a
    /// higher one.
    pub(crate) fn check_role(&self, role: Role) -> Result<(), Problem> {
        match self.identity() {
            Some(identity) if identity.role < role => Err(Problem::role_too_low(identity.role, role)),
            _ => Ok(()),
        }
    }

    /// Refuses an `X-Tenant` header that names a tenant of others. An invalid name is refused here or by later validation.
    pub(crate) fn check_tenant(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(identity) = self.identity() else { return Ok(()) };
        let mut named = headers.get_all(X_TENANT).iter();
        if named.all(|value| identity.may_act_for(&String::from_utf8_lossy(value.as_bytes()))) {
            Ok(())
        } else {
            Err(Problem::forbidden("The credential is for another tenant than X-Tenant names."))
        }
    }

    /// Refuses a key that the caller's key patterns do not match.
    pub(crate) fn check_key(&self, key: &Key) -> Result<(), Problem> {
        match self.identity() {
            Some(identity) if !identity.may_use(key) => Err(Problem::key_not_matched()),
            _ => Ok(()),
        }
    }

    /// The caller's key patterns; `None` if it may use all keys.
    pub(crate) fn keys(&self) -> Option<KeyPatterns> {
        self.identity().and_then(|identity| identity.keys.clone())
    }

    /// The tenant of a request without an `X-Tenant` header.
    pub(crate) fn tenant<'a>(&'a self, defaults: &'a Defaults) -> &'a Tenant {
        self.identity().and_then(|identity| identity.tenant.as_ref()).unwrap_or(&defaults.tenant)
    }

    /// The defaults for the caller's requests.
    pub(crate) fn defaults<'a>(&self, defaults: &'a Defaults) -> Cow<'a, Defaults> {
        match self.identity().and_then(|identity| identity.owner.as_ref()) {
            Some(owner) => Cow::Owned(Defaults { owner: owner.clone(), ..defaults.clone() }),
            None => Cow::Borrowed(defaults),
        }
    }

    /// The owner of the caller's grants: the name in the request together with the credential.
    pub(crate) fn owner(&self, named: Owner) -> Owner {
        match self.identity() {
            Some(identity) => named.with_credential(identity.credential),
            None => named,
        }
    }

    /// Whether the caller may see the version of a grant.
    pub(crate) fn sees_version(&self, held: &HeldView) -> bool {
        self.identity().is_none_or(|identity| identity.sees_version_of(held.owner.credential()))
    }
}
