//! Acquires that have waited. Their credentials are checked again before they are granted.

use std::sync::Arc;

use axum::{
    extract::Request,
    http::{HeaderValue, header},
};
use db_locks_service::access::{Identity, Role};

use crate::{
    auth::{AccessRule, Authentication, ClientCertificate, CredentialCheck},
    http::{connection::ClientBody, head_memory::copy_of},
    problem::Problem,
    request::key_of,
};

/// A request that may wait for a lock. It keeps no part of the buffer that the request was read into.
#[derive(Debug)]
pub(super) struct Waiter {
    /// The `Authorization` header, which may have a scheme that is none of ours.
    authorization: Option<HeaderValue>,
    /// The client certificate of the connection.
    certificate: Option<Arc<ClientCertificate>>,
    path: Box<str>,
}

impl Waiter {
    /// The waiter that a request with a credential may become.
    pub(super) fn of(request: &Request<ClientBody>) -> Option<Self> {
        let authorization = request.headers().get(header::AUTHORIZATION).map(copy_of);
        let certificate = request.body().connection().certificate().map(Arc::clone);
        (authorization.is_some() || certificate.is_some()).then(|| Self {
            authorization,
            certificate,
            path: request.uri().path().into(),
        })
    }

    /// Checks the credential again.
    pub(super) fn check(
        &self,
        authentication: &Authentication,
        route: &str,
        rule: AccessRule,
    ) -> CredentialCheck {
        let authorization = self.authorization.iter().map(|value| (header::AUTHORIZATION, value.clone()));
        authentication.check(route, rule, &authorization.collect(), self.certificate.as_deref())
    }

    /// Why the caller must not have the grant: the rights of its credential have become less than they were before. Rules of JWTs and
    /// certificates can change.
    pub(super) fn refusal(&self, before: &Identity, now: &Identity) -> Option<Problem> {
        if now.role < Role::Write {
            return Some(Problem::role_too_low(now.role, Role::Write));
        }
        if now.tenant.is_some() && now.tenant != before.tenant {
            return Some(Problem::forbidden("The credential was for another tenant when the request came."));
        }
        let may_use_key = now.keys == before.keys || key_of(&self.path).is_some_and(|key| now.may_use(&key));
        (!may_use_key).then(Problem::key_not_matched)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use db_locks_service::{
        access::{KeyPatterns, credential},
        domain::Tenant,
    };

    use super::*;

    fn caller(role: Role, tenant: Option<&str>, keys: Option<&str>) -> Identity {
        let keys = keys.map(|keys| KeyPatterns::new(vec![keys.parse().unwrap()]).unwrap());
        let tenant = tenant.map(|tenant| Tenant::new(tenant).unwrap());
        let (who, credential) = (Arc::from("jwt:a:b"), credential("jwt:a:b"));
        Identity { who, credential, tenant, role, keys, owner: None, expires_at: None }
    }

    #[test]
    fn a_waiter_is_granted_what_its_credential_still_allows() {
        let path = "/locks/deploy%2Fa/acquire".into();
        let waiter = Waiter { authorization: None, certificate: None, path };
        let before = caller(Role::Write, Some("acme"), Some("deploy/*"));
        for (now, is_granted) in [
            (before.clone(), true),
            (caller(Role::Admin, None, None), true),
            (caller(Role::Write, Some("acme"), Some("deploy/a")), true),
            (caller(Role::Write, Some("acme"), Some("deploy/b")), false),
            (caller(Role::Write, Some("other"), Some("deploy/*")), false),
            (caller(Role::Read, Some("acme"), Some("deploy/*")), false),
        ] {
            assert_eq!(waiter.refusal(&before, &now).is_none(), is_granted, "{now:?}");
        }
    }
}
