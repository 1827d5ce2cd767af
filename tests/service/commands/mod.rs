//! The commands that are clients, as processes.

mod calls;
mod lease_end;
mod process;
mod run;
