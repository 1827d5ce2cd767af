//! Who asks: credentials of requests, and what each route needs.

mod authentication;
mod bearer;
mod caller;
mod needs;

pub use self::authentication::{Authentication, AuthenticationOptions};
pub(crate) use self::{authentication::Answer, caller::Caller, needs::Needs};
