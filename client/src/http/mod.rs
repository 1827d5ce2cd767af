//! The service over HTTP.

mod answer;
mod connections;
mod endpoints;
mod lock_service;

pub use lock_service::HttpLockService;
