//! Acquires that have waited. Their credentials are checked again before they are granted.

use std::sync::Arc;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, header},
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
    credential: WaiterCredential,
    path: Box<str>,
}

#[derive(Debug)]
enum WaiterCredential {
    /// The `Authorization` header. It goes before a certificate.
    Authorization(HeaderValue),
    /// The client certificate of a connection.
    Certificate(Arc<ClientCertificate>),
}

impl Waiter {
    /// The waiter that a request with a credential may become.
    pub(super) fn of(request: &Request<ClientBody>) -> Option<Self> {
        let credential = match request.headers().get(header::AUTHORIZATION) {
            Some(value) => WaiterCredential::Authorization(copy_of(value)),
            None => WaiterCredential::Certificate(Arc::clone(request.body().connection().certificate()?)),
        };
        Some(Self { credential, path: request.uri().path().into() })
    }

    /// Checks the credential again.
    pub(super) fn check(
        &self,
        authentication: &Authentication,
        route: &str,
        rule: AccessRule,
    ) -> CredentialCheck {
        match &self.credential {
            WaiterCredential::Authorization(value) => {
                let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.clone())]);
                authentication.check(route, rule, &headers, None)
            }
            WaiterCredential::Certificate(certificate) => {
                authentication.check(route, rule, &HeaderMap::new(), Some(certificate))
            }
        }
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
        let credential = WaiterCredential::Authorization(HeaderValue::from_static("Bearer a"));
        let waiter = Waiter { credential, path: "/locks/deploy%2Fa/acquire".into() };
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
