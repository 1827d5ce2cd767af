//! Authentication and authorization: the credentials of requests, and the role that each route needs.

mod access_rule;
mod authentication;
mod authorities;
mod bearer;
mod caller;
mod certificate;
mod check_turns;
mod jwks;
mod jwt;
mod known_jwts;
mod rate_limit;
mod recheck;
mod rules;
mod signature;

pub(crate) use self::{
    access_rule::AccessRule,
    authentication::{CredentialCheck, CredentialLookup},
    authorities::Authorities,
    caller::{Caller, X_TENANT},
    certificate::ClientCertificate,
    recheck::RECHECK_AFTER,
};
pub use self::{
    authentication::{Authentication, AuthenticationOptions},
    jwks::KeysError,
    rules::{Rules, RulesError},
};
pub(crate) use rate_limit::register as register_metrics;
