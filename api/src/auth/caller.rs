//! Who sent a request, as handlers see it.

use std::{borrow::Cow, sync::Arc};

use axum::http::{HeaderMap, request::Parts};
use db_locks_service::{
    access::{Identity, KeyPatterns, Role},
    domain::{HeldView, Key, Owner, Tenant},
};

use crate::{http::Defaults, problem::Problem};

/// Who sent a request. Where authentication is off, everybody may do everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller(Option<Arc<Identity>>);

impl Caller {
    /// Of a request that was let in.
    pub(crate) fn of(parts: &Parts) -> Self {
        Self(parts.extensions.get::<Arc<Identity>>().cloned())
    }

    /// Who it is, where authentication is on.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.0.as_deref()
    }

    /// As the audit records name it.
    pub(crate) fn who(&self) -> Option<Arc<str>> {
        self.identity().map(|identity| Arc::clone(&identity.who))
    }

    /// Refuses whoever lacks a role. Routes are checked before; this is for what a body asks for.
    pub(crate) fn check_role(&self, role: Role) -> Result<(), Problem> {
        match self.identity() {
            Some(identity) if identity.role < role => Err(Problem::role_too_low(identity.role, role)),
            _ => Ok(()),
        }
    }

    /// Refuses a tenant that it may not act for. What is no tenant at all is refused later, unless it is foreign already.
    pub(crate) fn check_tenant(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(identity) = self.identity() else { return Ok(()) };
        let mut named = headers.get_all("x-tenant").iter();
        if named.all(|value| identity.may_act_for(&String::from_utf8_lossy(value.as_bytes()))) {
            Ok(())
        } else {
            Err(Problem::forbidden("The credential is for another tenant than X-Tenant names."))
        }
    }

    /// Refuses a key that its patterns do not match.
    pub(crate) fn check_key(&self, key: &Key) -> Result<(), Problem> {
        match self.identity() {
            Some(identity) if !identity.may_use(key) => {
                Err(Problem::forbidden("The key patterns of the credential do not match this key."))
            }
            _ => Ok(()),
        }
    }

    /// The keys that it may use, where these are not all.
    pub(crate) fn keys(&self) -> Option<KeyPatterns> {
        self.identity().and_then(|identity| identity.keys.clone())
    }

    /// The tenant of a request that names none.
    pub(crate) fn tenant<'a>(&'a self, defaults: &'a Defaults) -> &'a Tenant {
        self.identity().and_then(|identity| identity.tenant.as_ref()).unwrap_or(&defaults.tenant)
    }

    /// What its requests mean where they say nothing.
    pub(crate) fn defaults<'a>(&self, defaults: &'a Defaults) -> Cow<'a, Defaults> {
        match self.identity().and_then(|identity| identity.owner.as_ref()) {
            Some(owner) => Cow::Owned(Defaults { owner: owner.clone(), ..defaults.clone() }),
            None => Cow::Borrowed(defaults),
        }
    }

    /// The owner of its grants: the name that it gives itself, and its credential.
    pub(crate) fn owner(&self, named: Owner) -> Owner {
        match self.identity() {
            Some(identity) => named.with_credential(identity.credential),
            None => named,
        }
    }

    /// Whether it is shown the version of a grant.
    pub(crate) fn sees_version(&self, held: &HeldView) -> bool {
        self.identity().is_none_or(|identity| identity.sees_version_of(held.owner.credential()))
    }
}
