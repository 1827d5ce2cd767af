//! The limits of the operating system for this process and for the servers that inherit them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files as far as allowed: each connection of the load is one file here and one in the
/// server. Root may raise the hard limit too, so the process first asks for 65,536.
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

/// The number of files that this process may have open.
pub(crate) fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
