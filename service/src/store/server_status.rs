//! The state that a server reports: whether it accepts writes, and what distinguishes it from other servers.

/// The state that a server reports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ServerStatus {
    /// Distinguishes this server from others, since two addresses may lead to one server; `None` if it does not report that.
    pub(super) server: Option<String>,
    /// Why the server accepts no writes; `None` if it accepts them.
    pub(super) read_only: Option<&'static str>,
    /// The server's place in PostgreSQL's history.
    pub(super) timeline: Option<Timeline>,
    /// The UUID of the state of the server's Galera cluster.
    pub(super) cluster: Option<String>,
}

/// A timeline in the history of a PostgreSQL database. Each promotion of a standby begins one with a higher number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timeline {
    /// The identifier that a primary has in common with its standbys.
    pub(super) system: String,
    /// The number of the timeline.
    pub(super) number: u32,
}

impl Timeline {
    /// Whether a standby of this server was promoted before `other` was seen. Writes to this server since then are
    /// lost.
    pub(super) fn is_behind(&self, other: &Self) -> bool {
        self.system == other.system && self.number < other.number
    }
}
