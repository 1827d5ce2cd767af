//! The lock service: what the rules of locking are ([`domain`]), how commands become few writes ([`engine`]), and how a
//! database keeps them ([`store`]).
//!
//! Dependencies point one way: the service over the engine, the engine over the domain and the store's trait, the store
//! over the entities. Nothing here knows of HTTP.

pub mod domain;
pub mod engine;
mod log_limit;
mod observe;
mod service;
pub mod store;
mod unavailable;
mod vital;

pub use log_limit::LogLimit;
pub use service::{AcquireRequest, Delivery, Limits, LockService, ServiceError};
pub use unavailable::Unavailable;
