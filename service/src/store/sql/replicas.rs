//! Statements about replicas and their waiters.

use super::super::dialect::Dialect;

/// What the membership of replicas asks.
#[derive(Debug)]
pub(in super::super) struct ReplicaSql {
    pub(in super::super) beat: String,
    pub(in super::super) peers: String,
    /// Both in one statement, where that can be: it shows the counters as they were before. A replica beats once a second for as
    /// long as somebody waits, so each statement less counts.
    pub(in super::super) beat_and_peers: Option<String>,
    pub(in super::super) offers: String,
    pub(in super::super) count_waiting: String,
    pub(in super::super) waiting: String,
    pub(in super::super) keys_waited_for: String,
    pub(in super::super) unknown_replicas: String,
}

impl ReplicaSql {
    /// These statements in a dialect.
    pub(super) fn new(dialect: Dialect) -> Self {
        let sql = |template: &str| dialect.sql(template);
        Self {
            beat: sql("/* beat */ UPDATE replicas SET beat = beat + 1 WHERE id = ?"),
            peers: sql("/* peers */ SELECT id, beat, {now} FROM replicas"),
            beat_and_peers: (dialect == Dialect::Postgres).then(|| {
                sql("/* beat */ WITH beat AS (UPDATE replicas SET beat = beat + 1 WHERE id = ?) \
                     SELECT id, beat, {now} FROM replicas")
            }),
            offers: sql("/* offers */ SELECT DISTINCT tenant, {key} FROM waiters \
                 WHERE replica = ? AND offered_until_ms IS NOT NULL"),
            count_waiting: sql("/* count_waiting */ SELECT count(*) FROM waiters WHERE replica = ?"),
            waiting: sql("/* waiting */ SELECT tenant, {key}, version, nonce FROM waiters WHERE replica = ?"),
            keys_waited_for: sql(
                "/* keys_waited_for */ SELECT DISTINCT tenant, {key} FROM waiters WHERE replica = ? LIMIT ?",
            ),
            unknown_replicas: sql(
                "/* unknown_replicas */ SELECT DISTINCT w.replica FROM waiters w WHERE w.replica IS NOT NULL \
                 AND NOT EXISTS (SELECT 1 FROM replicas r WHERE r.id = w.replica)",
            ),
        }
    }
}
