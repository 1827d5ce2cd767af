//! Identities of servers.

/// The identity of a database's server. It differs from that of other servers, and from its own before a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// The server, or the cluster.
    pub(super) server: String,
    /// When the server was started. In a cluster: when the answering node was started. In the stored identity of a
    /// cluster: when it was stored.
    pub(super) started_at_ms: Option<i64>,
    /// The number of a cluster's configuration, which changes whenever a node joins or leaves.
    pub(super) generation: Option<i64>,
}

/// How far apart the start times of one node may lie: uptimes have whole seconds.
const NODE_TOLERANCE_MS: i64 = 1_000;

impl Identity {
    /// Whether this is the server that was met before, not restarted since. Start times may differ by `tolerance_ms`.
    ///
    /// A cluster is the same while it has the same configuration. A part of a cluster that an operator made primary
    /// goes on counting configurations where it was cut off, and may lack what the other part committed. A cluster that
    /// was bootstrapped again may count to the same number again, but then all its nodes were started after the identity was
    /// stored.
    pub(super) fn is_same(&self, before: &Self, tolerance_ms: i64) -> bool {
        let same_start = match (self.started_at_ms, before.started_at_ms) {
            (Some(now), Some(before)) if self.generation.is_some() => now <= before + NODE_TOLERANCE_MS,
            (Some(now), Some(before)) => now.abs_diff(before) <= tolerance_ms.unsigned_abs(),
            (now, before) => now == before,
        };
        self.server == before.server && same_start && self.generation == before.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(server: &str, started_at_ms: i64) -> Identity {
        Identity { server: server.to_owned(), started_at_ms: Some(started_at_ms), generation: None }
    }

    fn node(generation: i64, started_at_ms: i64) -> Identity {
        Identity { generation: Some(generation), ..server("galera/1", started_at_ms) }
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

    /// If two nodes answer in turn, they must not be taken for two servers again and again.
    #[test]
    fn a_cluster_is_the_same_whichever_node_answers_until_a_node_joins_or_leaves() {
        let stored = node(7, 50_000);
        assert!(node(7, 10_000).is_same(&stored, 0) && node(7, 50_900).is_same(&stored, 0));
        assert!(!node(8, 10_000).is_same(&stored, 0), "a part of it may have been made primary");
        assert!(!node(6, 10_000).is_same(&stored, 0));
        assert!(
            !node(7, 60_000).is_same(&stored, 0),
            "it was bootstrapped again, and has as many nodes as before"
        );
        assert!(!node(7, 10_000).is_same(&server("galera/1", 50_000), 0));
        assert!(!Identity { generation: None, ..node(7, 10_000) }.is_same(&stored, 0), "no majority");
    }
}
