//! The primary dies and a standby takes its place: through a URL of several hosts, through a proxy, by an address that moves.

mod hosts;
mod pair;
mod workload;
