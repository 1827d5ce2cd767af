//! File descriptors: raises the limit, and reserves enough for the database.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The descriptors reserved for the program itself: logs, listeners, the runtime, the files of SQLite, and connections that are
/// answered "too many connections". Most of them are spare.
const RESERVED: u64 = 128;
/// The default limit of connections. Each connection costs some 20 KiB.
const MOST_BY_DEFAULT: u64 = 100_000;
/// The smallest limit of connections that is accepted.
const FEWEST: u64 = 16;

/// The limit of client connections: the configured one or the default, but never so many that the database lacks descriptors.
/// Raises the limit of open files first.
pub(crate) fn max_http_connections(configured: Option<u32>, database_connections: u32) -> usize {
    let room = room(raise_limit(), database_connections);
    let wanted = configured.map_or(MOST_BY_DEFAULT, u64::from);
    if configured.is_some() && wanted > room {
        tracing::warn!(wanted, room, "the limit of open files allows fewer connections than are configured");
    }
    usize::try_from(wanted.min(room)).unwrap_or(usize::MAX)
}

/// The number of client connections that a limit of open files allows.
fn room(limit: u64, database_connections: u32) -> u64 {
    // Twice, since a pool that replaces a connection has both for a moment.
    let reserved = RESERVED + 2 * u64::from(database_connections);
    if limit < reserved + FEWEST {
        tracing::warn!(limit, needed = reserved + FEWEST, "the limit of open files is too low");
    }
    limit.saturating_sub(reserved).max(FEWEST)
}

/// Raises the soft limit of open files to the hard limit, and returns it.
fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None means unlimited.
    let (current, maximum) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    if current >= maximum {
        return current;
    }
    let raised = Rlimit { current: Some(maximum), maximum: Some(maximum) };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the limit of open files cannot be raised"
            );
            current
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_keeps_its_descriptors() {
        assert_eq!(room(1_024, 10), 1_024 - RESERVED - 20);
        assert_eq!(room(64, 10), FEWEST);
        assert_eq!(room(u64::MAX, 10), u64::MAX - RESERVED - 20);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), limit);
    }
}
