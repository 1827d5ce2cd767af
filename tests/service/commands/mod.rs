//! The commands that are clients, as processes.

mod calls;
mod guarded;
mod lease_end;
pub(crate) mod process;
mod run;
mod wait;
