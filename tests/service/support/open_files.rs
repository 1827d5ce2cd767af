//! The limit of open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files of this process. `false` if it stays too low for this
/// number of connections.
pub(crate) fn may_open_files(connections: usize) -> bool {
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: now.maximum, maximum: now.maximum };
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.is_none_or(|limit| limit >= connections as u64 + 500)
}
