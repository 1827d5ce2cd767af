//! What the operating system allows this process, and with it the servers that inherit it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the number of open files to the most that is allowed: each connection of the load is one here and one in the
/// server. Where root may raise the hard limit too, 65,536 is asked for first.
pub(crate) fn raise_open_files() {
    let wanted = 65_536;
    let now = getrlimit(Resource::Nofile);
    let hard = now.maximum.unwrap_or(u64::MAX).max(wanted);
    let highest = Rlimit { current: Some(wanted), maximum: now.maximum.map(|_| hard) };
    let allowed = Rlimit { current: now.maximum, maximum: now.maximum };
    if setrlimit(Resource::Nofile, highest).is_err() && setrlimit(Resource::Nofile, allowed).is_err() {
        eprintln!("note: the limit of open files stays as it is");
    }
}

/// How many files this process may have open.
pub(crate) fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
