//! What a server says of itself: whether it accepts writes, and what distinguishes it from others.

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Standing {
    /// Tells this server from others, since two addresses may lead to one; `None` if it does not tell.
    pub(super) server: Option<String>,
    /// Why it accepts no writes.
    pub(super) read_only: Option<&'static str>,
    /// Where it stands in PostgreSQL's history.
    pub(super) timeline: Option<Timeline>,
    /// The UUID of its Galera cluster's state.
    pub(super) cluster: Option<String>,
}

/// A point in the history of a PostgreSQL: each promotion of a standby begins a timeline with a higher number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timeline {
    /// The identifier that a primary has in common with its standbys.
    pub(super) system: String,
    /// The number of the timeline.
    pub(super) number: u32,
}

impl Timeline {
    /// Whether a standby of this server was promoted before `other` was seen: what is written here since then is lost.
    pub(super) fn is_behind(&self, other: &Self) -> bool {
        self.system == other.system && self.number < other.number
    }
}
