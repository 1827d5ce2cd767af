//! Identities of servers.

/// What tells a database's server from another one, and from itself after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// The server, or the cluster.
    pub(super) server: String,
    /// When it was started; not of a cluster.
    pub(super) started_at_ms: Option<i64>,
    /// A number of a cluster that grows, and begins anew when the cluster does.
    pub(super) generation: Option<i64>,
}

impl Identity {
    /// Whether a server that was met before is this one, and was not started anew since. Start times may differ by `tolerance_ms`.
    pub(super) fn is_same(&self, before: &Self, tolerance_ms: i64) -> bool {
        let same_start = match (self.started_at_ms, before.started_at_ms) {
            (Some(now), Some(before)) => now.abs_diff(before) <= tolerance_ms.unsigned_abs(),
            (now, before) => now == before,
        };
        let goes_on = match (self.generation, before.generation) {
            (Some(now), Some(before)) => now >= before,
            (now, before) => now == before,
        };
        self.server == before.server && same_start && goes_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(server: &str, started_at_ms: i64) -> Identity {
        Identity { server: server.to_owned(), started_at_ms: Some(started_at_ms), generation: None }
    }

    fn cluster(generation: i64) -> Identity {
        let server = "galera/1".to_owned();
        Identity { server, started_at_ms: None, generation: Some(generation) }
    }

    #[test]
    fn a_server_is_the_same_until_it_is_started_anew() {
        assert!(server("a", 5_000).is_same(&server("a", 5_000), 0));
        assert!(!server("a", 5_001).is_same(&server("a", 5_000), 0));
        assert!(!server("b", 5_000).is_same(&server("a", 5_000), 0), "another one of the same start");
        assert!(server("a", 8_000).is_same(&server("a", 5_000), 3_000), "its uptime has whole seconds");
        assert!(!server("a", 9_000).is_same(&server("a", 5_000), 3_000));
        assert!(!server("a", 1_000).is_same(&server("a", 5_000), 3_000));
    }

    #[test]
    fn a_cluster_is_the_same_until_it_begins_anew_whichever_node_answers() {
        assert!(cluster(7).is_same(&cluster(7), 0) && cluster(8).is_same(&cluster(7), 0));
        assert!(!cluster(1).is_same(&cluster(7), 0), "it was bootstrapped from a node");
        assert!(!cluster(7).is_same(&server("galera/1", 0), 0));
    }
}
