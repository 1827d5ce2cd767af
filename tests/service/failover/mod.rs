//! The primary dies and a standby takes over: with a URL of several hosts, a proxy, or an address that moves.

mod addresses;
mod hosts;
mod pair;
pub(crate) mod scenario;
pub(crate) mod workload;
