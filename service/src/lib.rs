//! The lock service: what the rules of locking are ([`domain`]), how commands become few writes ([`engine`]), and how a
//! database keeps them ([`store`]).
//!
//! Dependencies point one way: the service over the engine, the engine over the domain and the store's trait, the store
//! over the entities. Nothing here knows of HTTP.

/// Whether a test has planted this bug here, to see that the simulation finds it; never in any other build.
macro_rules! planted {
    ($bug:ident) => {{
        #[cfg(test)]
        let planted = crate::simulation::hooks::has(crate::simulation::bugs::Bug::$bug);
        #[cfg(not(test))]
        let planted = false;
        planted
    }};
}

pub mod access;
pub mod audit;
mod base64url;
pub mod domain;
pub mod engine;
mod log_limit;
mod observe;
mod rfc3339;
mod service;
#[cfg(test)]
mod simulation;
pub mod store;
mod tasks;
mod unavailable;

pub use log_limit::LogLimit;
pub use rfc3339::{Rfc3339, parse_rfc3339};
pub use service::{AcquireRequest, Delivery, Limits, LockService, ServiceError};
pub use tasks::{PanicReport, report_panics, spawn_critical};
pub use unavailable::Unavailable;
