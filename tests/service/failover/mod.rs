//! The primary dies and a standby takes its place: through a URL of several hosts, through a proxy, by an address that moves.

mod addresses;
mod hosts;
mod pair;
pub(crate) mod scenario;
mod workload;
