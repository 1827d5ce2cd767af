//! Statements about guard rows.

use super::{super::dialect::Dialect, guard_sweep::GuardSweepSql};

/// A server's statements about guard rows.
#[derive(Debug)]
pub(in super::super) struct GuardSql {
    pub(in super::super) lock: String,
    /// Locks a row as `db_locks_guard` does in a user's transaction.
    pub(in super::super) share: String,
    pub(in super::super) exists: String,
    pub(in super::super) insert: String,
    pub(in super::super) update: String,
    /// Reads the slots of a key whose guard rows name a grant, with the grant's version.
    pub(in super::super) named: String,
    /// Deletes the row of a trial.
    pub(in super::super) delete_trial: String,
    pub(in super::super) sweep: GuardSweepSql,
}

impl GuardSql {
    pub(super) fn new(dialect: Dialect) -> Self {
        let (clock, identity) = (dialect.precise_now(), dialect.identity());
        let row = "tenant = ? AND {key} = ? AND slot = ?";
        Self {
            lock: dialect.sql(&format!(
                "/* guard_lock */ SELECT 1 FROM db_locks_guards WHERE {row} FOR UPDATE SKIP LOCKED"
            )),
            share: dialect.sql(&format!(
                "/* guard_share */ SELECT 1 FROM db_locks_guards WHERE {row} {}",
                if dialect == Dialect::Postgres { "FOR SHARE" } else { "LOCK IN SHARE MODE" }
            )),
            exists: dialect.sql(&format!("/* guard_exists */ SELECT 1 FROM db_locks_guards WHERE {row}")),
            insert: dialect.sql(&format!(
                "/* guard_new */ INSERT INTO db_locks_guards \
                 (version, token, tenant, {{key}}, slot, granted_at, identity, uses) \
                 VALUES (?, ?, ?, ?, ?, {clock}, {identity}, 0)"
            )),
            named: dialect.sql(
                "/* guards_named */ SELECT slot, version FROM db_locks_guards \
                 WHERE tenant = ? AND {key} = ? AND version IS NOT NULL",
            ),
            // The time is read after the row was locked: a transaction that began after that time sees all that the
            // former holder wrote. MariaDB and MySQL assign in this order.
            update: dialect.sql(&format!(
                "/* guard */ UPDATE db_locks_guards SET previous = coalesce(version, previous), version = ?, token = ?, \
                 granted_at = CASE WHEN identity = {identity} THEN greatest({clock}, granted_at) ELSE {clock} END, \
                 identity = {identity} WHERE {row}"
            )),
            delete_trial: dialect.sql(
                "/* guard_trial_over */ DELETE FROM db_locks_guards WHERE tenant = ? AND {key} = ? AND version IS NULL",
            ),
            sweep: GuardSweepSql::new(dialect),
        }
    }
}
