//! The lock service: the rules of locking ([`domain`]), how commands become few writes ([`engine`]), and how a database
//! keeps states ([`store`]).
//!
//! Dependencies point one way: from the service to the engine, from the engine to the domain and the store's traits,
//! from the store to the entities. Nothing here knows of HTTP.

/// Whether a test has planted this bug, to see that the simulation finds it. Always false in other builds.
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
mod apart;
pub mod audit;
mod base64url;
mod causes;
pub mod domain;
pub mod engine;
mod log_limit;
mod maps;
mod observe;
mod one_at_a_time;
mod regular_file;
mod rfc3339;
mod service;
mod shares;
#[cfg(test)]
mod simulation;
mod single_flight;
mod standard_error;
pub mod store;
mod tasks;
mod terminal;
mod turns;
mod unavailable;

pub use causes::with_causes;
pub use log_limit::LogLimit;
pub use maps::{Hashing, SeededMap, SeededSet};
pub use one_at_a_time::{Line, Lines, OneAtATime, Waiter};
pub use regular_file::read_regular_file;
pub use rfc3339::{Rfc3339, parse_rfc3339};
pub use service::{AcquireRequest, Delivery, Limits, LockService, ServiceError};
pub use shares::{Kept, beyond_shares};
pub use single_flight::SingleFlight;
pub use standard_error::write_to_stderr;
pub use tasks::{PanicReport, before_abort, report_panics, spawn_critical, spawn_critical_thread};
pub use terminal::{escape_terminal_controls, is_terminal_control};
pub use unavailable::Unavailable;
