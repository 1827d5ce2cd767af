//! The commands that are clients, as processes.

mod calls;
mod lease_end;
pub(crate) mod process;
mod run;
