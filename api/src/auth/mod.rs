//! Authentication and authorization: the credentials of requests, and the role that each route needs.

mod authentication;
mod bearer;
mod caller;
mod certificate;
mod jwks;
mod jwt;
mod needs;
mod rate_limit;
mod rules;
mod signature;

pub(crate) use self::{
    authentication::{Answer, Question},
    caller::Caller,
    certificate::ClientCertificate,
    needs::Needs,
};
pub use self::{
    authentication::{Authentication, AuthenticationOptions},
    jwks::KeysError,
    rules::{Rules, RulesError},
};
pub(crate) use rate_limit::register as register_metrics;
