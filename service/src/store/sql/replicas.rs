//! Statements about replicas and waiters that are sent again and again while somebody waits.

use super::super::dialect::Dialect;

#[derive(Debug)]
pub(in super::super) struct ReplicaSql {
    pub(in super::super) beat: String,
    pub(in super::super) peers: String,
    /// `beat` and `peers` in one statement, on PostgreSQL. It returns the beats from before the update.
    pub(in super::super) beat_and_peers: Option<String>,
    pub(in super::super) offers: String,
    pub(in super::super) count_waiting: String,
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
            // `DISTINCT` could make PostgreSQL read all waiters, in the order of their keys.
            offers: sql("/* offers */ SELECT tenant, {key} FROM waiters \
                 WHERE replica = ? AND offered_until_ms IS NOT NULL"),
            count_waiting: sql("/* count_waiting */ SELECT count(*) FROM waiters WHERE replica = ?"),
        }
    }
}
